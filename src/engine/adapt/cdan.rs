//! Conditional domain-adversarial training: the domain classifier sees features and predictions
//! together.
//!
//! Long et al. 2018, "Conditional Adversarial Domain Adaptation", <https://arxiv.org/abs/1705.10667>,
//! sections 3.2 and 3.3. The domain classifier and the reversed gradient are those of [`dann`]; what
//! it reads is the outer product of a row's features and class probabilities. As in the authors'
//! library, the probabilities have no gradient: the reversed gradient reaches the network through the
//! features alone, and the weights of `entropy = true` are constants too. They are rescaled to a mean
//! of one over the rows of both domains together; the authors' first program rescales each domain.

use graftwork::experiment::spec::Cdan;
use tch::{Device, Kind, Tensor};

use super::{Activations, Term, dann, entropy, ramp};
use crate::model::Model;
use crate::random;

/// The widest outer product that the domain classifier reads as it is.
const WIDEST_PRODUCT: u32 = 4096;
/// Width of the random maps that stand for a wider one.
const RANDOM_WIDTH: u32 = 1024;

/// The conditional domain classifier and how it acts.
#[derive(Debug)]
pub struct Conditional {
    settings: Cdan,
    map: Map,
    classifier: Model,
}

impl Conditional {
    /// A new domain classifier for features of that width and that many classes.
    pub fn new(settings: &Cdan, features: u32, classes: u32, seed: u64, device: Device) -> Self {
        let map = Map::new(features, classes, seed, device);
        let width = map.width(features, classes);
        let classifier = dann::domain_classifier(width, settings.hidden, seed, device);
        Self { settings: settings.clone(), map, classifier }
    }

    pub(super) fn classifier_mut(&mut self) -> &mut Model {
        &mut self.classifier
    }

    pub(super) fn term(&self, source: &Activations, target: &Activations, progress: f64) -> Term {
        let lambda = self.settings.lambda * ramp(progress, self.settings.gamma);
        let joined = |of: &Activations| {
            let probabilities = of.logits.detach().softmax(-1, None::<Kind>);
            self.map.join(&of.features, &probabilities)
        };
        let weights = self.settings.entropy.then(|| {
            entropy::certainty_weights(&Tensor::cat(&[&source.logits, &target.logits], 0))
        });
        let (source, target) = (joined(source), joined(target));
        dann::judge(&self.classifier, &source, &target, weights.as_ref(), lambda).into_term()
    }
}

/// How features and class probabilities become one vector.
#[derive(Debug)]
pub enum Map {
    /// All products of a feature and a probability.
    Outer,
    /// Products of as many random projections of both. They are drawn from the stage's seed and stay
    /// as they are, so a stage that goes on draws them again.
    Random {
        /// `[features, 1024]`
        features: Tensor,
        /// `[classes, 1024]`
        classes: Tensor,
    },
}

impl Map {
    /// The outer product, or random maps where it has more than 4096 values.
    pub fn new(features: u32, classes: u32, seed: u64, device: Device) -> Self {
        if u64::from(features) * u64::from(classes) <= u64::from(WIDEST_PRODUCT) {
            return Self::Outer;
        }
        let draw = |rows: u32, purpose| {
            let shape = [i64::from(rows), i64::from(RANDOM_WIDTH)];
            random::normal(&shape, 1.0, &mut random::stream(seed, purpose, 0)).to_device(device)
        };
        Self::Random {
            features: draw(features, "cdan/features"),
            classes: draw(classes, "cdan/classes"),
        }
    }

    fn width(&self, features: u32, classes: u32) -> u32 {
        match self {
            Self::Outer => features * classes,
            Self::Random { .. } => RANDOM_WIDTH,
        }
    }

    /// Joins each row's features with its class probabilities.
    ///
    /// # Shapes
    /// - features: `[n, features]`
    /// - probabilities: `[n, classes]`
    /// - result: `[n, classes · features]`, all features of the first class first, or `[n, 1024]`
    pub fn join(&self, features: &Tensor, probabilities: &Tensor) -> Tensor {
        match self {
            Self::Outer => (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1, -1),
            Self::Random { features: of_features, classes } => {
                features.matmul(of_features) * probabilities.matmul(classes)
                    / f64::from(RANDOM_WIDTH).sqrt()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::Dann;

    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    fn random_maps(features: u32, classes: u32, seed: u64) -> [Tensor; 2] {
        let map = Map::new(features, classes, seed, Device::Cpu);
        let Map::Random { features, classes } = map else { panic!("{map:?}") };
        [features, classes]
    }

    /// What a network might make of a batch, single precision, with gradients.
    fn activations(rows: i64, features: i64, classes: i64, shift: f64) -> Activations {
        let values = |columns, shift| {
            batch(rows, columns, shift).to_kind(Kind::Float).set_requires_grad(true)
        };
        Activations { features: values(features, shift), logits: values(classes, shift + 0.7) }
    }

    fn settings(entropy: bool) -> Cdan {
        Cdan { entropy, hidden: 5, gamma: 0.0, lambda: 0.6 }
    }

    #[test]
    fn the_outer_product_is_the_one_computed_by_hand_class_by_class() {
        let joined = Map::Outer.join(&matrix(&[&[1.0, 2.0]]), &matrix(&[&[0.25, 0.75]]));
        assert_eq!(joined.size(), [1, 4]);
        let expected = matrix(&[&[0.25, 0.5, 0.75, 1.5]]);
        assert!((joined - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn products_of_more_than_4096_values_are_mapped_at_random() {
        for (features, classes, random) in
            [(128, 10, false), (64, 64, false), (409, 10, false), (410, 10, true), (1, 4097, true)]
        {
            let map = Map::new(features, classes, 3, Device::Cpu);
            assert_eq!(matches!(map, Map::Random { .. }), random, "{features} × {classes}");
            let width = map.width(features, classes);
            assert_eq!(width, if random { 1024 } else { features * classes });
            let [f, g] = [features, classes]
                .map(|columns| batch(2, i64::from(columns), 0.3).to_kind(Kind::Float));
            assert_eq!(map.join(&f, &g).size(), [2, i64::from(width)]);
        }
    }

    #[test]
    fn random_maps_come_from_the_seed() {
        let [features, classes] = random_maps(4100, 3, 8);
        let [again, classes_again] = random_maps(4100, 3, 8);
        assert!(features == again && classes == classes_again);
        let [other, classes_other] = random_maps(4100, 3, 9);
        assert!(features != other && classes != classes_other);
        assert!(features.narrow(0, 0, 3) != classes, "two streams");
    }

    #[test]
    fn random_maps_keep_the_inner_products_of_the_outer_product() {
        // E⟨T(a), T(b)⟩ = ⟨f_a, f_b⟩⟨g_a, g_b⟩, section 3.2. Each of the 1024 products has a
        // variance of at most 8 |f_a|²|f_b|²|g_a|²|g_b|²; allowed are four standard errors.
        let [features, classes] = random_maps(700, 6, 5).map(|map| map.to_kind(Kind::Double));
        let map = Map::Random { features, classes };
        let (f, g) = (batch(8, 700, 0.4), batch(8, 6, 0.9).softmax(-1, None::<Kind>));
        let gram = |rows: &Tensor| rows.matmul(&rows.tr());
        let norms = gram(&Map::Outer.join(&f, &g)).diagonal(0, 0, 1).sqrt();
        let error = gram(&map.join(&f, &g)) - gram(&Map::Outer.join(&f, &g));
        let relative = error / (norms.unsqueeze(1) * norms.unsqueeze(0));
        assert!(relative.abs().max().double_value(&[]) < 4.0 * (8.0f64 / 1024.0).sqrt());
    }

    #[test]
    fn with_one_class_it_is_domain_adversarial_training() {
        // The probability of the only class is one, so the outer product is the features.
        let run = |term: &dyn Fn(&Activations, &Activations) -> Term| {
            let (source, target) = (activations(6, 4, 1, 0.2), activations(3, 4, 1, 0.9));
            let term = term(&source, &target);
            term.weighted.backward();
            (term.weighted.double_value(&[]), source.features.grad(), target.features.grad())
        };
        let dann = Dann { lambda: 0.6, gamma: 0.0, hidden: 5 };
        let dann = dann::Adversary::new(&dann, 4, 3, Device::Cpu);
        let expected = run(&|source, target| dann.term(source, target, 0.5));
        for entropy in [false, true] {
            let cdan = Conditional::new(&settings(entropy), 4, 1, 3, Device::Cpu);
            assert!(run(&|source, target| cdan.term(source, target, 0.5)) == expected);
        }
    }

    #[test]
    fn predictions_have_no_gradient_and_features_have_one() {
        for (entropy, width) in [(false, 4), (true, 4), (true, 2000)] {
            let (source, target) = (activations(6, width, 3, 0.2), activations(6, width, 3, 0.9));
            let cdan = Conditional::new(&settings(entropy), width as u32, 3, 3, Device::Cpu);
            cdan.term(&source, &target, 0.5).weighted.backward();
            for of in [source, target] {
                assert!(!of.logits.grad().defined());
                assert!(of.features.grad().abs().max().double_value(&[]) > 0.0);
            }
        }
    }

    #[test]
    fn the_loss_is_the_mean_of_the_rows_losses_weighted_by_their_certainty() {
        let (source, target) = (activations(4, 3, 2, 0.2), activations(2, 3, 2, 0.9));
        let losses = |of: &Activations, label: f64, cdan: &Conditional| -> Vec<(f64, f64)> {
            let p = of.logits.softmax(-1, None::<Kind>);
            let joined = Map::Outer.join(&of.features, &p);
            let logits = cdan.classifier.forward(&joined, crate::model::Mode::Eval, None);
            let row = |row: i64| {
                let p = [0, 1].map(|class| p.double_value(&[row, class]));
                let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
                let logit = logits.double_value(&[row, 0]) * (2.0 * label - 1.0);
                (1.0 + (-entropy).exp(), (1.0 + (-logit).exp()).ln())
            };
            (0..of.features.size()[0]).map(row).collect()
        };
        for entropy in [false, true] {
            let cdan = Conditional::new(&settings(entropy), 3, 2, 3, Device::Cpu);
            let rows = [losses(&source, 1.0, &cdan), losses(&target, 0.0, &cdan)].concat();
            let weight = |certainty: f64| if entropy { certainty } else { 1.0 };
            let total: f64 = rows.iter().map(|(certainty, loss)| weight(*certainty) * loss).sum();
            let weights: f64 = rows.iter().map(|(certainty, _)| weight(*certainty)).sum();
            let term = cdan.term(&source, &target, 0.5);
            assert_close(&term.weighted, total / weights, 1e-6);
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let probabilities = batch(5, 3, 0.9).softmax(-1, None::<Kind>);
        let [features, classes] =
            random_maps(4, 1025, 5).map(|map| map.to_kind(Kind::Double).narrow(0, 0, 3));
        for (map, columns) in [(Map::Outer, 4), (Map::Random { features, classes }, 3)] {
            check_gradient(&batch(5, columns, 0.2), |features| {
                let joined = map.join(features, &probabilities);
                let weights = batch(joined.size()[1], 1, 0.7);
                let logits = dann::reverse_gradient(&joined, -1.0).matmul(&weights).squeeze_dim(1);
                let labels = Tensor::from_slice(&[1.0, 1.0, 1.0, 0.0, 0.0]);
                let certainty = Tensor::from_slice(&[0.8, 1.2, 1.0, 0.7, 1.3]);
                dann::loss(&logits, &labels, Some(&certainty))
            });
        }
    }
}
