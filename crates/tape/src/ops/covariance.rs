//! Distances and covariance functions of Gaussian processes as formulas of the squared distance.
//!
//! With [`Var::squared_distances`](crate::Var::squared_distances) below them they give kernel matrices with gradients to
//! the points, the length scale and the variance; being elementwise they are fused with it and with one another. At
//! distance 0 every slope is finite. Sources: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning,
//! eq. 4.9 and 4.17.

use crate::elementwise::elementwise;

elementwise! {
    /// Distance from the squared distance; its slope at 0 is 0, a subgradient. PyTorch: `torch.cdist` behaves so.
    fn root_distance(r2 in 0.05..4.0) -> y {
        value: r2.sqrt(),
        slope: [L::select(y == L::of(0.0), L::of(0.0), L::of(0.5) / y)],
    }

    /// Squared-exponential (RBF) covariance v exp(-r2 / (2 l^2)) from the squared distance, length scale and variance.
    /// GPyTorch: `RBFKernel` within a `ScaleKernel`.
    fn rbf_kernel(r2 in 0.0..4.0, length_scale in 0.5..2.0, variance in 0.3..2.0) -> y {
        value: variance * (L::of(-0.5) * r2 / (length_scale * length_scale)).exp(),
        slope: [
            L::of(-0.5) * y / (length_scale * length_scale),
            y * r2 / (length_scale * length_scale * length_scale),
            (L::of(-0.5) * r2 / (length_scale * length_scale)).exp(),
        ],
    }

    /// Matern covariance of smoothness 1/2, v exp(-r / l), from the squared distance, length scale and variance; its
    /// slope by the squared distance at 0, which is infinite, counts as 0. GPyTorch: `MaternKernel(nu=0.5)`.
    fn matern12_kernel(r2 in 0.05..4.0, length_scale in 0.5..2.0, variance in 0.3..2.0) -> y {
        value: variance * (-r2.sqrt() / length_scale).exp(),
        slope: [
            L::select(r2 == L::of(0.0), L::of(0.0), L::of(-0.5) * y / (length_scale * r2.sqrt())),
            y * r2.sqrt() / (length_scale * length_scale),
            (-r2.sqrt() / length_scale).exp(),
        ],
    }

    /// Matern covariance of smoothness 3/2, v (1 + s) exp(-s) with s = sqrt(3) r / l, from the squared distance,
    /// length scale and variance. GPyTorch: `MaternKernel(nu=1.5)`.
    fn matern32_kernel(r2 in 0.05..4.0, length_scale in 0.5..2.0, variance in 0.3..2.0) {
        value: {
            let s = L::of(SQRT_3) * r2.sqrt() / length_scale;
            variance * (L::of(1.0) + s) * (-s).exp()
        },
        slope: [
            {
                let decay = (-L::of(SQRT_3) * r2.sqrt() / length_scale).exp();
                L::of(-1.5) * variance * decay / (length_scale * length_scale)
            },
            {
                let s = L::of(SQRT_3) * r2.sqrt() / length_scale;
                variance * s * s * (-s).exp() / length_scale
            },
            {
                let s = L::of(SQRT_3) * r2.sqrt() / length_scale;
                (L::of(1.0) + s) * (-s).exp()
            },
        ],
    }

    /// Matern covariance of smoothness 5/2, v (1 + s + s^2 / 3) exp(-s) with s = sqrt(5) r / l, from the squared
    /// distance, length scale and variance. GPyTorch: `MaternKernel(nu=2.5)`.
    fn matern52_kernel(r2 in 0.05..4.0, length_scale in 0.5..2.0, variance in 0.3..2.0) {
        value: {
            let s = L::of(SQRT_5) * r2.sqrt() / length_scale;
            variance * (L::of(1.0) + s + s * s / L::of(3.0)) * (-s).exp()
        },
        slope: [
            {
                let s = L::of(SQRT_5) * r2.sqrt() / length_scale;
                L::of(-5.0 / 6.0) * variance * (L::of(1.0) + s) * (-s).exp() / (length_scale * length_scale)
            },
            {
                let s = L::of(SQRT_5) * r2.sqrt() / length_scale;
                variance * s * s * (L::of(1.0) + s) * (-s).exp() / (L::of(3.0) * length_scale)
            },
            {
                let s = L::of(SQRT_5) * r2.sqrt() / length_scale;
                (L::of(1.0) + s + s * s / L::of(3.0)) * (-s).exp()
            },
        ],
    }
}

const SQRT_3: f64 = 1.732_050_807_568_877_2;
const SQRT_5: f64 = 2.236_067_977_499_79;
