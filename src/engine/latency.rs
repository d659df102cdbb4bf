//! How long networks take for a batch: two of them, measured in turn, or one.
//!
//! Two go one after the other, batch by batch, so that both meet the same weather: what else the machine
//! does, how warm it is. Which of the two goes first changes every time. A few batches before are not counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use graftwork::experiment::spec::Latency;
use graftwork::protocol::Point;
use tch::{Cuda, Device, Kind, Tensor, no_grad};

use crate::model::{Mode, Model};
use crate::stage::point;

/// Batches of each network before those that count: caches fill, threads start.
const WARM_UP: usize = 5;
/// Batches that count where one network is timed.
const REPEATS: usize = 30;

/// A network with the domain whose copies it runs with.
pub type Running<'a> = (&'a Model, Option<usize>);

/// Measures both networks on a batch, in milliseconds; none if it was stopped.
///
/// # Shapes
/// - inputs: `[batch, …]`, the input of both networks
pub fn measure(
    networks: [Running<'_>; 2],
    inputs: &Tensor,
    settings: &Latency,
    stop: &AtomicBool,
) -> Option<[Vec<f64>; 2]> {
    let mut time = |network: usize| {
        let (model, domain) = networks[network];
        (!stop.load(Ordering::Relaxed)).then(|| milliseconds(model, domain, inputs))
    };
    with_threads(settings.threads as i32, || {
        in_turn(WARM_UP, &mut time)?;
        in_turn(settings.repeats as usize, &mut time)
    })
}

/// How long a network takes for one example on one thread, in milliseconds: the median of thirty times.
pub fn of_one_example(model: &Model) -> f64 {
    let inputs = example(model);
    // Which domain makes no difference: all have copies of the same layers.
    let domain = model.network().domains.len().checked_sub(1);
    let time = || milliseconds(model, domain, &inputs);
    with_threads(1, || {
        for _ in 0..WARM_UP {
            time();
        }
        Quartiles::of(&[(); REPEATS].map(|()| time())).median
    })
}

/// A batch of one example that a network can take.
fn example(model: &Model) -> Tensor {
    let network = model.network();
    let extents = network.input_shape().iter().map(|&extent| i64::from(extent));
    let size: Vec<i64> = std::iter::once(1).chain(extents).collect();
    let Some(tokens) = network.tokens() else {
        return Tensor::ones(size, (Kind::Float, model.device()));
    };
    // The number 0 may stand for no word, which layers may pass over.
    Tensor::full(size, i64::from(tokens.min(2)) - 1, (Kind::Int64, model.device()))
}

/// Does something while LibTorch computes on so many threads.
fn with_threads<T>(threads: i32, work: impl FnOnce() -> T) -> T {
    let before = tch::get_num_threads();
    tch::set_num_threads(threads);
    let done = work();
    tch::set_num_threads(before);
    done
}

fn milliseconds(model: &Model, domain: Option<usize>, inputs: &Tensor) -> f64 {
    no_grad(|| {
        wait(model.device());
        let start = Instant::now();
        let output = model.forward(inputs, Mode::Eval, domain);
        wait(model.device());
        let seconds = start.elapsed().as_secs_f64();
        drop(output);
        1000.0 * seconds
    })
}

/// Waits until a card has done what it was given.
fn wait(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Times both networks so often, in turn; the first goes first in even rounds, the second in odd ones.
fn in_turn(repeats: usize, time: &mut dyn FnMut(usize) -> Option<f64>) -> Option<[Vec<f64>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..repeats {
        let first = round % 2;
        for network in [first, 1 - first] {
            times[network].push(time(network)?);
        }
    }
    Some(times)
}

/// The metrics of two networks' times: of the one that is looked at, and `beside`.
///
/// `latency/speed-up` is the other's median by its own, and is there only where that is no noise: where
/// the ranges between the quartiles do not meet.
pub fn points([own, beside]: &[Vec<f64>; 2]) -> Vec<Point> {
    let (own, beside) = (Quartiles::of(own), Quartiles::of(beside));
    let named = |scope: &str, quartiles: Quartiles| {
        let Quartiles { lower, median, upper } = quartiles;
        let values = [("median", median), ("q1", lower), ("q3", upper), ("iqr", upper - lower)];
        values.map(|(what, value)| point(format!("{scope}/{what}-ms"), 0, value))
    };
    let mut points = named("latency", own).to_vec();
    points.extend(named("latency/beside", beside));
    if own.is_apart_from(beside) {
        points.push(point("latency/speed-up", 0, beside.median / own.median));
    }
    points
}

/// The median and the quartiles of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quartiles {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Quartiles {
    /// Between two values by linear interpolation, as `numpy.quantile` does (method 7 of Hyndman & Fan
    /// 1996, "Sample quantiles in statistical packages").
    fn of(sample: &[f64]) -> Self {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }

    /// Whether the ranges between the quartiles do not meet.
    fn is_apart_from(self, other: Self) -> bool {
        self.upper < other.lower || other.upper < self.lower
    }
}

#[cfg(test)]
mod tests {
    use graftwork::network::zoo;
    use serde_json::json;

    use super::*;

    fn value(points: &[Point], name: &str) -> Option<f64> {
        points.iter().find(|point| point.name == name).map(|point| point.value)
    }

    #[test]
    fn each_goes_first_in_turn() {
        let mut order = Vec::new();
        let times = in_turn(3, &mut |network| {
            order.push(network);
            Some(order.len() as f64)
        });
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        assert_eq!(times, Some([vec![1.0, 4.0, 5.0], vec![2.0, 3.0, 6.0]]));
    }

    #[test]
    fn whatever_a_network_takes_an_example_of_it_can_be_timed() {
        let threads = tch::get_num_threads();
        let of = |model: serde_json::Value, input: &[u32], tokens| {
            let spec = serde_json::from_value(model).unwrap();
            let network = zoo::build_with(&spec, input, tokens, 4).unwrap();
            of_one_example(&Model::new(network, 0, Device::Cpu))
        };
        let times = [
            of(json!({ "lenet5": {} }), &[1, 28, 28], None),
            of(json!({ "gru": {} }), &[12], Some(50)),
            of(json!({ "gru": {} }), &[12], Some(1)),
        ];
        assert!(times.iter().all(|time| time.is_finite() && *time > 0.0), "{times:?}");
        assert_eq!(tch::get_num_threads(), threads);
    }

    #[test]
    fn a_network_of_several_domains_is_timed_as_one_of_them_uses_it() {
        let lenet = serde_json::from_value(json!({ "lenet5": {} })).unwrap();
        let network = zoo::build(&lenet, &[1, 28, 28], 4).unwrap();
        let domains = ["mnist", "usps"].map(str::to_owned);
        let model = Model::new(network, 0, Device::Cpu);
        assert!(of_one_example(&model.split_domains(&domains, &["conv1".to_owned()])) > 0.0);
    }

    #[test]
    fn a_stop_ends_it_without_a_result() {
        let mut left = 3;
        let times = in_turn(4, &mut |_| {
            left -= 1;
            (left >= 0).then_some(1.0)
        });
        assert_eq!(times, None);
    }

    /// `numpy.quantile([7, 1, 3, 10], [0.25, 0.5, 0.75])` is `[2.5, 5.0, 7.75]`, of `[2, 9, 4]` it is
    /// `[3.0, 4.0, 6.5]`.
    #[test]
    fn quartiles_are_those_of_numpy() {
        let of = |sample: &[f64]| {
            let Quartiles { lower, median, upper } = Quartiles::of(sample);
            [lower, median, upper]
        };
        let close = |found: [f64; 3], expected: [f64; 3]| {
            let is_close = |(a, b): (f64, f64)| (a - b).abs() < 1e-12;
            assert!(found.into_iter().zip(expected).all(is_close), "{found:?} {expected:?}");
        };
        close(of(&[7.0, 1.0, 3.0, 10.0]), [2.5, 5.0, 7.75]);
        close(of(&[2.0, 9.0, 4.0]), [3.0, 4.0, 6.5]);
    }

    #[test]
    fn a_speed_up_is_told_where_the_quartiles_are_apart() {
        // Quartiles 1.75 and 3.25 against 5.75 and 7.25: medians 2.5 and 6.5.
        let points = points(&[vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]]);
        let is = |name: &str, expected: f64| {
            let value = value(&points, name).unwrap();
            assert!((value - expected).abs() < 1e-12, "{name}: {value}");
        };
        is("latency/median-ms", 2.5);
        is("latency/iqr-ms", 1.5);
        is("latency/q1-ms", 1.75);
        is("latency/beside/median-ms", 6.5);
        is("latency/beside/q3-ms", 7.25);
        is("latency/speed-up", 2.6);
    }

    #[test]
    fn a_slow_down_is_told_too() {
        let points = points(&[vec![5.0, 6.0, 7.0, 8.0], vec![1.0, 2.0, 3.0, 4.0]]);
        assert!((value(&points, "latency/speed-up").unwrap() - 2.5 / 6.5).abs() < 1e-12);
    }

    #[test]
    fn no_speed_up_is_told_within_the_noise() {
        // Quartiles 1.75 to 3.25 meet 2.75 to 4.25, though the medians differ by 1.
        let points = points(&[vec![1.0, 2.0, 3.0, 4.0], vec![2.0, 3.0, 4.0, 5.0]]);
        assert_eq!(value(&points, "latency/speed-up"), None);
        assert!(value(&points, "latency/median-ms").is_some());
        // Ranges that touch are not apart.
        let touching = |a: f64, b: f64| Quartiles { lower: a, median: a, upper: b };
        assert!(!touching(1.0, 2.0).is_apart_from(touching(2.0, 3.0)));
    }
}
