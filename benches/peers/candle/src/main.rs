//! The tasks in candle, f32. Usage: candle-tasks --task NAME --threads N [--reps N]; RAYON_NUM_THREADS chooses threads.

use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{
    AdamW, Conv1d, Conv1dConfig, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, conv1d, linear, loss, ops,
};

type Step = Box<dyn FnMut() -> Result<()>>;

fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| word != name).nth(1)
}

fn resident(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this needs Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel lists it");
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).expect("a number of kB") / 1024.0
}

fn main() -> Result<()> {
    let name = option("--task").expect("--task NAME");
    let threads = option("--threads").expect("--threads N");
    let reps: usize = option("--reps").map_or(15, |n| n.parse().expect("--reps N"));
    let prepare = match name.as_str() {
        "gemm_1024" => gemm,
        "vae_step_b256_g2000" => vae,
        "conv1d_b32_l4096" => convolutions,
        "tiny_mlp_x50" => tiny_mlp,
        "elementwise_4m" => elementwise,
        "attention_b8h4_s512_d32" => attention,
        _ => std::process::exit(3),
    };
    let mut step = prepare(&Device::Cpu)?;
    std::fs::write("/proc/self/clear_refs", "5").expect("this needs Linux");
    let before = resident("VmRSS:");
    for _ in 0..2 {
        step()?;
    }
    let mut times = Vec::new();
    for _ in 0..reps {
        let start = Instant::now();
        step()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let peak = resident("VmHWM:") - before;
    println!(
        r#"{{"task":"{name}","threads":{threads},"median_ms":{:.4},"min_ms":{:.4},"peak_mb":{peak:.1}}}"#,
        times[reps / 2],
        times[0]
    );
    Ok(())
}

fn normal(shape: impl Into<candle_core::Shape>, device: &Device) -> Result<Tensor> {
    Tensor::randn(0f32, 1.0, shape, device)
}

fn gemm(device: &Device) -> Result<Step> {
    let (a, b) = (normal((1024, 1024), device)?, normal((1024, 1024), device)?);
    Ok(Box::new(move || a.matmul(&b).map(drop)))
}

/// Linear layers with ReLU between them.
struct Mlp(Vec<Linear>);

impl Mlp {
    fn new(widths: &[usize], vars: VarBuilder) -> Result<Self> {
        let layer = |(i, w): (usize, &[usize])| linear(w[0], w[1], vars.pp(i));
        Ok(Self(widths.windows(2).enumerate().map(layer).collect::<Result<_>>()?))
    }

    fn forward(&self, x: &Tensor, relu_at_the_end: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.0.iter().enumerate() {
            x = layer.forward(&x)?;
            if relu_at_the_end || i + 1 < self.0.len() {
                x = x.relu()?;
            }
        }
        Ok(x)
    }
}

fn adam(map: &VarMap) -> Result<AdamW> {
    AdamW::new(map.all_vars(), ParamsAdamW { lr: 1e-3, weight_decay: 0.0, ..Default::default() })
}

fn vae(device: &Device) -> Result<Step> {
    let map = VarMap::new();
    let vars = VarBuilder::from_varmap(&map, DType::F32, device);
    let encoder = Mlp::new(&[2000, 256, 256], vars.pp("encoder"))?;
    let (mean, log_variance) = (linear(256, 16, vars.pp("mean"))?, linear(256, 16, vars.pp("log_variance"))?);
    let decoder = Mlp::new(&[16, 256, 256, 2000], vars.pp("decoder"))?;
    let (mut adam, x) = (adam(&map)?, normal((256, 2000), device)?);
    Ok(Box::new(move || {
        let h = encoder.forward(&x, true)?;
        let (mean, log_variance) = (mean.forward(&h)?, log_variance.forward(&h)?);
        let z = (&mean + ((&log_variance * 0.5)?.exp()? * mean.randn_like(0.0, 1.0)?)?)?;
        let error = (decoder.forward(&z, false)? - &x)?.sqr()?.sum(1)?.mean_all()?;
        let divergence = (((&log_variance + 1.0)? - mean.sqr()?)? - log_variance.exp()?)?.sum(1)?.mean_all()?;
        adam.backward_step(&(error - (divergence * 0.5)?)?)
    }))
}

fn convolutions(device: &Device) -> Result<Step> {
    let map = VarMap::new();
    let vars = VarBuilder::from_varmap(&map, DType::F32, device);
    let layer = |inputs, outputs, kernel: usize| -> Result<Conv1d> {
        let config = Conv1dConfig { padding: kernel / 2, ..Default::default() };
        conv1d(inputs, outputs, kernel, config, vars.pp(kernel))
    };
    let [first, second, third] = [layer(4, 64, 15)?, layer(64, 64, 7)?, layer(64, 1, 1)?];
    let x = normal((32, 4, 4096), device)?;
    let labels = Tensor::rand(0f32, 1.0, (32, 1, 4096), device)?.ge(0.5f32)?.to_dtype(DType::F32)?;
    Ok(Box::new(move || {
        let h = second.forward(&first.forward(&x)?.relu()?)?.relu()?;
        loss::binary_cross_entropy_with_logit(&third.forward(&h)?, &labels)?.backward().map(drop)
    }))
}

fn tiny_mlp(device: &Device) -> Result<Step> {
    let map = VarMap::new();
    let model = Mlp::new(&[6, 64, 8, 4], VarBuilder::from_varmap(&map, DType::F32, device))?;
    let (mut adam, x, y) = (adam(&map)?, normal((32, 6), device)?, normal((32, 4), device)?);
    Ok(Box::new(move || {
        for _ in 0..50 {
            adam.backward_step(&loss::mse(&model.forward(&x, false)?, &y)?)?;
        }
        Ok(())
    }))
}

fn elementwise(device: &Device) -> Result<Step> {
    let [x, w] = [Var::randn(0f32, 1.0, 4_000_000, device)?, Var::randn(0f32, 1.0, 4_000_000, device)?];
    Ok(Box::new(move || {
        let gate = ops::sigmoid(&x)?;
        let product = (x.as_tensor() * w.as_tensor())?;
        ((product + 1.0)?.tanh()? * gate)?.sum_all()?.backward().map(drop)
    }))
}

fn attention(device: &Device) -> Result<Step> {
    let variable = || Var::randn(0f32, 1.0, (8, 4, 512, 32), device);
    let (q, k, v) = (variable()?, variable()?, variable()?);
    Ok(Box::new(move || {
        let scores = (q.matmul(&k.t()?.contiguous()?)? / 32f64.sqrt())?;
        ops::softmax(&scores, D::Minus1)?.matmul(&v)?.sum_all()?.backward().map(drop)
    }))
}
