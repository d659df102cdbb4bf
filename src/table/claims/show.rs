//! Claims with their verdicts as text, Markdown, CSV and JSON.

use serde_json::{Value, json};

use super::super::build::Summary;
use super::super::data::{csv, number};
use super::super::number::{Format, is_percent};
use super::super::{Style, grid, markdown};
use super::{CONFIDENCE, Claims, Judged, Results, Verdict};

impl Judged {
    fn is_percent(&self) -> bool {
        is_percent(&self.metric) && !self.claim.is_ratio
    }

    fn unit(&self) -> &'static str {
        match (self.is_percent(), &self.claim.than) {
            (true, Some(_)) => " points",
            (true, None) => " %",
            (false, _) => "",
        }
    }

    /// A figure of the file: as many digits as it has.
    fn stated(&self, value: f64) -> String {
        // What 0.29 · 100 has behind its twelfth digit is not the file's.
        let value = if self.is_percent() { (value * 1e14).round() / 1e12 } else { value };
        let sign = if self.is_difference() && value > 0.0 { "+" } else { "" };
        format!("{sign}{value}{}", self.unit()).replace('-', "−")
    }

    fn is_difference(&self) -> bool {
        self.claim.than.is_some() && !self.claim.is_ratio
    }

    fn measured(&self) -> String {
        let Some(Summary { mean, deviation, n }) = self.summary else { return "–".to_owned() };
        let name = if self.claim.is_ratio { "ratio" } else { &self.metric };
        let format = Format::new(name, &[mean], deviation.as_slice());
        let text = if self.is_difference() {
            format.difference(mean, deviation)
        } else {
            format.spread(mean, deviation)
        };
        format!("{text}{} (n={n})", self.unit())
    }

    fn condition(&self) -> String {
        let (least, most) = self.claim.bounds;
        match (least.is_finite(), most.is_finite()) {
            (true, true) => format!("{} to {}", self.stated(least), self.stated(most)),
            (true, false) => format!("at least {}", self.stated(least)),
            _ => format!("at most {}", self.stated(most)),
        }
    }

    fn row(&self) -> Vec<String> {
        let reported = self.claim.reported.map_or("–".to_owned(), |value| self.stated(value));
        let mut verdict = self.verdict.as_str().to_owned();
        if self.known_before > 0 {
            verdict.push_str(", stated afterwards");
        }
        vec![self.claim.says.clone(), self.measured(), reported, self.condition(), verdict]
    }

    fn json(&self) -> Value {
        let results = |results: &Results| json!({ "stage": results.stage, "where": results.at });
        let (least, most) = self.claim.bounds;
        let finite = |value: f64| value.is_finite().then_some(value);
        let values = self
            .values
            .iter()
            .map(|(seeds, value)| json!({ "seeds": seeds, "value": number(*value) }));
        let mean = self.summary.map(|summary| summary.mean);
        json!({
            "says": self.claim.says,
            "source": self.claim.source,
            "metric": self.metric,
            "of": results(&self.claim.of),
            "than": self.claim.than.as_ref().map(results),
            "by": self.claim.than.as_ref().map(|_| if self.claim.is_ratio { "ratio" } else { "difference" }),
            "reported": self.claim.reported,
            "at-least": finite(least),
            "at-most": finite(most),
            "n": self.summary.map_or(0, |summary| summary.n),
            "mean": mean.map(number),
            "std": self.summary.and_then(|summary| summary.deviation).map(number),
            "interval": self.interval.map(|(low, high)| [number(low), number(high)]),
            "from-reported": mean.zip(self.claim.reported).map(|(mean, reported)| number(mean - reported)),
            "values": values.collect::<Vec<_>>(),
            "verdict": self.verdict.as_str(),
            "known-before": self.known_before,
        })
    }
}

const HEADER: [&str; 5] = ["claim", "measured", "reported", "holds if", "verdict"];

impl Claims {
    /// `7 claims: 4 hold, 2 do not hold, 1 undecided`; none where there are no claims.
    pub fn counts(&self) -> Option<String> {
        let claims = match self.claims.as_slice() {
            [] => return None,
            [claim] => return Some(format!("1 claim, {}", claim.verdict.as_str())),
            claims => claims,
        };
        let all = [Verdict::Holds, Verdict::Fails, Verdict::Undecided, Verdict::NotMeasured];
        let counts = all.into_iter().filter_map(|verdict| {
            let n = claims.iter().filter(|claim| claim.verdict == verdict).count();
            match (verdict, n) {
                (_, 0) => None,
                (Verdict::Holds, 2..) => Some(format!("{n} hold")),
                (Verdict::Fails, 2..) => Some(format!("{n} do not hold")),
                _ => Some(format!("{n} {}", verdict.as_str())),
            }
        });
        let counts: Vec<String> = counts.collect();
        Some(format!("{} claims: {}", claims.len(), counts.join(", ")))
    }

    fn caption(&self) -> [String; 2] {
        let counts = self.counts().unwrap_or_default();
        let spread = "mean ± standard deviation over seeds; undecided: a bound lies within the 95 % confidence interval of the mean";
        [format!("{}: {counts}", self.experiment), spread.to_owned()]
    }

    /// The claims as text.
    pub fn to_text(&self, style: Style) -> String {
        let rows: Vec<_> = self.claims.iter().map(Judged::row).collect();
        format!("{}\n\n{}", self.caption().join("\n"), grid(&HEADER, &rows, style))
    }

    /// The claims as Markdown, each with its source.
    pub fn to_markdown(&self) -> String {
        let rows = self.claims.iter().map(|claim| {
            let mut row = claim.row();
            if let Some(source) = &claim.claim.source {
                row[0] = format!("{} ({source})", row[0]);
            }
            row
        });
        let table = markdown::table(
            HEADER.map(str::to_owned).to_vec(),
            &["---", "---:", "---:", "---", "---"],
            rows,
        );
        format!("{}\n\n{table}", self.caption().join("  \n"))
    }

    /// One line per claim; accuracies are fractions.
    pub fn to_csv(&self) -> String {
        let header = [
            "claim",
            "source",
            "metric",
            "n",
            "mean",
            "std",
            "low",
            "high",
            "reported",
            "at_least",
            "at_most",
            "verdict",
            "known_before",
        ];
        let text = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let rows = self.claims.iter().map(|judged| {
            let (claim, summary) = (&judged.claim, judged.summary);
            let finite = |value: f64| text(Some(value).filter(|value| value.is_finite()));
            vec![
                claim.says.clone(),
                claim.source.clone().unwrap_or_default(),
                judged.metric.clone(),
                summary.map_or(0, |summary| summary.n).to_string(),
                text(summary.map(|summary| summary.mean)),
                text(summary.and_then(|summary| summary.deviation)),
                text(judged.interval.map(|(low, _)| low)),
                text(judged.interval.map(|(_, high)| high)),
                text(claim.reported),
                finite(claim.bounds.0),
                finite(claim.bounds.1),
                judged.verdict.as_str().to_owned(),
                judged.known_before.to_string(),
            ]
        });
        csv(std::iter::once(header.map(str::to_owned).to_vec()).chain(rows))
    }

    /// The claims as one JSON object.
    pub fn to_json(&self) -> Value {
        let claims: Vec<_> = self.claims.iter().map(Judged::json).collect();
        json!({ "experiment": self.experiment, "confidence": CONFIDENCE, "claims": claims })
    }
}
