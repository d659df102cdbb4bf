//! Activations: a function of each value, without parameters.

use serde::{Deserialize, Serialize};

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name {}
    )*};
}

activations! {
    /// `max(x, 0)`.
    Relu;
    /// `min(max(x, 0), 6)`.
    Relu6;
    /// `x · Φ(x)` with the normal distribution's Φ, exact (Hendrycks and Gimpel 2016).
    Gelu;
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid;
    /// Hyperbolic tangent.
    Tanh;
    /// `x · sigmoid(x)`, also called swish.
    Silu;
    /// `x · relu6(x + 3) / 6` (Howard et al. 2019).
    HardSwish;
    /// `relu6(x + 3) / 6`.
    HardSigmoid;
}

/// `x` where positive, `slope · x` elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeakyRelu {
    /// Factor of negative values.
    pub slope: f64,
}
