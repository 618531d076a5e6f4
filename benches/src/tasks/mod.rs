//! The work that is timed here and in the peers, under the same names: a value, its gradient, and the optimiser's step
//! where there is one, all in f32.

mod chromatin;
mod contextual;
mod kernels;
mod networks;
mod peaks;
mod sequences;

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
        name: "conv1d_b32_l4096",
        about: "three 1-D convolutions 4-64-64-1 of widths 15, 7, 1 with ReLU, 32 x 4096 positions, binary cross-entropy",
        prepare: networks::convolutions,
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
        name: "attention_b8h4_s512_d32",
        about: "attention, batch 8, 4 heads, 512 positions of 32, backward",
        prepare: kernels::attention,
    },
    Task {
        name: "spectral_conv_b16_c32_l8192_m64",
        about: "spectral convolution, batch 16, 32 channels, 8192 positions, 64 modes, sum of squares, backward",
        prepare: kernels::spectral_convolution,
    },
    Task {
        name: "layernorm_softmax_8192x512",
        about: "sum of squares of softmax(layer norm(x)), backward",
        prepare: kernels::layer_norm_softmax,
    },
    Task {
        name: "hmm_t10k_s15_m10",
        about: "log-likelihood of a Bernoulli HMM, 10,000 bins, 15 states, 10 marks, gradient of all logits",
        prepare: sequences::hidden_markov_model,
    },
    Task {
        name: "selective_scan_l2000_d256_n16",
        about: "selective scan, 2000 steps, 256 channels, 16 states, sum of squares, gradient of all operands",
        prepare: sequences::selective_scan,
    },
    Task {
        name: "peak",
        about: "peak caller, 64 x 10,000 positions, 32 filters of widths 5, 11, 21, summits in windows of 50, backward",
        prepare: peaks::convolutional,
    },
    Task { name: "peak_vae", about: "the same after a denoiser of windows of 200", prepare: peaks::denoised },
    Task {
        name: "fno",
        about: "Fourier peak caller, 64 x 10,000 positions, 32 channels, 16 modes, 4 blocks, backward",
        prepare: peaks::fourier,
    },
    Task {
        name: "chromatin",
        about: "chromatin states, 10,000 bins, 10 marks as soft calls, 15 states, mean squares of all outputs, backward",
        prepare: chromatin::shared,
    },
    Task {
        name: "chromatin_cond",
        about: "the same with Gaussian emissions mixed from 5 cell types",
        prepare: chromatin::conditioned,
    },
    Task {
        name: "contextual",
        about: "transformer on 8 x 512 bp, hidden 64, 2 layers, 4 heads, feed-forward 256, 8 factors, contacts; backward",
        prepare: contextual::diffbio,
    },
];

/// The task of that name.
pub fn find(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}
