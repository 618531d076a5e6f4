//! The work that is timed here and in the peers, under the same names: a value, its gradient, and the optimiser's step
//! where there is one, all in f32.

mod kernels;
mod networks;

/// One piece of work.
pub struct Task {
    /// The name that the peers' scripts print.
    pub name: &'static str,
    /// What it does, with sizes.
    pub about: &'static str,
    /// Draws data and parameters; each call of what it returns is one step.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All tasks, in the order of the peers' scripts.
pub const TASKS: &[Task] = &[
    Task {
        name: "gemm_1024",
        about: "product of two 1024 x 1024 matrices, forward only",
        prepare: kernels::matrix_product,
    },
    Task {
        name: "vae_step_b256_g2000",
        about: "VAE 2000-256-256-16 and back, batch 256, fresh noise, Adam",
        prepare: networks::vae,
    },
    Task {
        name: "tiny_mlp_x50",
        about: "50 steps of an MLP 6-64-8-4, batch 32, Adam: pure overhead",
        prepare: networks::tiny_mlp,
    },
    Task {
        name: "elementwise_4m",
        about: "sum of tanh(x w + 1) sigmoid(x), 4 million elements, backward",
        prepare: kernels::elementwise,
    },
    Task {
        name: "layernorm_softmax_8192x512",
        about: "sum of squares of softmax(layer norm(x)), backward",
        prepare: kernels::layer_norm_softmax,
    },
];

/// The task of that name.
pub fn find(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}
