//! Losses against PyTorch 2.15 in double precision, and at their extremes.
//!
//! Unless said otherwise the operands are, row-major, `x[i] = 2 sin(1.7 i)` and `t[i] = cos(0.9 i)` of shape `[4, 3]`,
//! and the numbers are `F.<loss>(x, t)` with the first four elements of its gradient.

use gradome_nn::losses::{
    CrossEntropy, GradNorm, LossKind, UncertaintyWeighting, bce_with_logits, bce_with_logits_weighted,
    concordance_loss, focal, huber, info_nce, nt_xent, pearson_loss, smooth_l1, squared_error,
};
use gradome_nn::optim::{Optimizer, OptimizerConfig};
use gradome_nn::{ParamStore, Step};
use gradome_tape::{Tape, Tensor, Var};

fn x() -> Tensor<f64> {
    Tensor::from_fn([4, 3], |i| 2.0 * (1.7 * i as f64).sin())
}

fn t() -> Tensor<f64> {
    Tensor::from_fn([4, 3], |i| (0.9 * i as f64).cos())
}

fn labels() -> Tensor<f64> {
    Tensor::from_fn([4, 3], |i| f64::from(t().data()[i] > 0.0))
}

/// The loss as one number and the first four elements of its gradient with respect to x, in f64; f32 agrees.
fn assert_loss<F>(loss: F, value: f64, gradient: [f64; 4])
where
    F: for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>,
{
    let tape = Tape::new();
    let variable = tape.variable(&x());
    let loss = loss(variable);
    assert!((loss.item() - value).abs() < 1e-12 * value.abs().max(1.0), "{} is not {value}", loss.item());
    let gradients = loss.backward();
    let found = &gradients.of(variable).unwrap().data()[..4];
    for (f, g) in found.iter().zip(gradient) {
        assert!((f - g).abs() < 1e-12, "{found:?} is not {gradient:?}");
    }
}

fn constant<'t>(like: Var<'t, f64>, value: &Tensor<f64>) -> Var<'t, f64> {
    like.tape().constant(value)
}

#[test]
fn losses_of_numbers_agree_with_pytorch() {
    let gradient = [-0.16666666666666666, 0.22695327543904545, -0.04731335156009589, -0.15792620377306726];
    assert_loss(|x| squared_error(x, constant(x, &t())).mean(), 1.9561345523822176, gradient);
    // F.huber_loss(x, t, delta=0.7)
    let gradient = [-0.05833333333333333, 0.05833333333333333, -0.023656675780047945, -0.05833333333333333];
    assert_loss(|x| huber(x, constant(x, &t()), 0.7).mean(), 0.6555781022416102, gradient);
    // F.smooth_l1_loss(x, t, beta=0.7)
    let gradient = [-0.08333333333333333, 0.08333333333333333, -0.033795251114354205, -0.08333333333333333];
    assert_loss(|x| smooth_l1(x, constant(x, &t()), 0.7).mean(), 0.9365401460594432, gradient);
}

#[test]
fn binary_cross_entropy_agrees_with_pytorch() {
    // F.binary_cross_entropy_with_logits(x, (t > 0).double())
    let gradient = [-0.041666666666666664, -0.010080362139563629, 0.031244988827004928, 0.011306808701142814];
    assert_loss(|x| bce_with_logits(x, constant(x, &labels())).mean(), 0.8048821940816312, gradient);
    // with pos_weight=torch.tensor([0.5, 1., 3.])
    let weight = Tensor::new([3], &[0.5, 1.0, 3.0]);
    let gradient = [-0.020833333333333332, -0.010080362139563629, 0.031244988827004928, 0.011306808701142814];
    assert_loss(
        |x| bce_with_logits_weighted(x, constant(x, &labels()), constant(x, &weight)).mean(),
        0.7359882959774419,
        gradient,
    );
    // F.binary_cross_entropy_with_logits(x, torch.sigmoid(t))
    let gradient = [-0.019254881552500408, 0.0190375860180421, -0.005708558026530947, -0.012711057159185994];
    assert_loss(|x| bce_with_logits(x, constant(x, &t()).sigmoid()).mean(), 0.8490516276499772, gradient);
}

#[test]
fn focal_losses_agree_with_their_formula() {
    // b = (t > 0).double(); p = torch.sigmoid(x); pt = p*b + (1-p)*(1-b); at = 0.25*b + 0.75*(1-b)
    // ce = F.binary_cross_entropy_with_logits(x, b, reduction='none'); (at * ce * (1 - pt)**2).mean()
    let gradient = [-0.006214308232083048, -0.00010597257174480994, 0.008455711199221085, 0.0004461334720948949];
    assert_loss(|x| focal(x, constant(x, &labels()), 2.0, Some(0.25)).mean(), 0.20970717525977522, gradient);
    // (ce * (1 - pt)**1.5).mean()
    let gradient = [-0.03004792476641579, -0.0010201073740089242, 0.015602566547205956, 0.0013524412906592504];
    assert_loss(|x| focal(x, constant(x, &labels()), 1.5, None).mean(), 0.4622041499129506, gradient);
}

#[test]
fn cross_entropy_of_classes_agrees_with_pytorch() {
    let plain = CrossEntropy::default();
    let classes = [2, 0, 1, 1];
    let gradient = [0.028195240144715708, 0.20489195581734193, -0.23308719596205765, -0.24495660030806382];
    assert_loss(|x| plain.mean(x, &classes), 3.1743523215123464, gradient);
    let smoothed = CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() };
    let gradient = [0.019861906811382377, 0.1965586224840086, -0.216420529295391, -0.22828993364139716];
    assert_loss(|x| smoothed.mean(x, &classes), 3.037467742750076, gradient);
    let weighted = CrossEntropy { class_weights: Some(vec![0.5, 1.0, 3.0]), ..CrossEntropy::default() };
    let gradient = [0.06151688758847063, 0.44703699451056417, -0.5085538820990348, -0.08907512738475047];
    assert_loss(|x| weighted.mean(x, &classes), 2.933181621874606, gradient);
    // weight, label_smoothing=0.1 and a row of ignore_index
    let all = CrossEntropy { label_smoothing: 0.1, ignore: Some(99), ..weighted };
    let gradient = [0.06772423799624276, 0.5116522139965255, -0.5793764519927683, -0.10101389053467108];
    assert_loss(|x| all.mean(x, &[2, 0, 99, 1]), 2.7746702872672957, gradient);
    // reduction='none'
    let tape = Tape::new();
    let rows = all.rows(tape.constant(&x()), &[2, 0, 99, 1]).value();
    for (found, expected) in rows.data().iter().zip([7.584496252560351, 1.9025060847896225, 0.0, 2.999013955352857]) {
        assert!((found - expected).abs() < 1e-12, "{rows:?}");
    }
}

#[test]
fn cross_entropy_of_soft_targets_agrees_with_pytorch() {
    let plain = CrossEntropy::default();
    let gradient = [-0.09819027235270551, 0.11832251922441644, -0.02013224687171094, -0.057338092985070255];
    assert_loss(|x| plain.soft_rows(x, constant(x, &t()).softmax()).mean(), 1.6484662763330062, gradient);
    let all = CrossEntropy { label_smoothing: 0.1, class_weights: Some(vec![0.5, 1.0, 3.0]), ignore: None };
    let gradient = [-0.030329033347464264, 0.13692872975107942, -0.10659969640361518, -0.022978037002520938];
    assert_loss(|x| all.soft_rows(x, constant(x, &t()).softmax()).mean(), 1.8028332978381587, gradient);
}

#[test]
fn correlation_losses_agree_with_their_formulas() {
    // xn = x - x.mean(0); tn = t - t.mean(0); (1 - (xn * tn).sum(0) / (xn.norm(dim=0) * tn.norm(dim=0))).mean()
    let gradient = [-0.07973345344513422, -0.03000127627206438, -0.05485461233928469, 0.08230728854494893];
    assert_loss(|x| pearson_loss(x, constant(x, &t()), 0).mean(), 0.6208924472065579, gradient);
    // cov = (xn * tn).mean(0); spread = xn.pow(2).mean(0) + tn.pow(2).mean(0) + (x.mean(0) - t.mean(0))**2
    // (1 - 2 * cov / spread).mean()
    let gradient = [-0.06764760847000972, -0.02052006215071095, -0.0066523761443421, 0.04723225234016444];
    assert_loss(|x| concordance_loss(x, constant(x, &t()), 0).mean(), 0.7616769678352551, gradient);
}

#[test]
fn contrastive_losses_agree_with_their_formulas() {
    // F.cross_entropy(F.normalize(x) @ F.normalize(t).T / 0.5, torch.arange(4))
    let gradient = [-0.06992601570660614, 0.017015596772038143, 0.06603152453301674, 0.12478295766544355];
    assert_loss(|x| info_nce(x, constant(x, &t()), 0.5), 1.187269664803908, gradient);
    // z = torch.cat([F.normalize(x), F.normalize(t)]); s = (z @ z.T / 0.5).masked_fill(torch.eye(8) > 0, -inf)
    // F.cross_entropy(s, torch.tensor([4, 5, 6, 7, 0, 1, 2, 3]))
    let gradient = [-0.13230570981294157, 0.020991831078012436, 0.08146188625594064, 0.116047689038938];
    assert_loss(|x| nt_xent(x, constant(x, &t()), 0.5), 1.759025338669271, gradient);
}

/// Value and gradient of a loss of two logits against the targets 0 and 1, in f32.
fn at_extremes(loss: for<'t> fn(Var<'t, f32>, Var<'t, f32>) -> Var<'t, f32>, logits: [f32; 2]) -> [Vec<f32>; 2] {
    let tape = Tape::new();
    let logits = tape.variable(&Tensor::new([2], &logits));
    let loss = loss(logits, tape.constant(&Tensor::new([2], &[0.0, 1.0])));
    let gradients = loss.sum().backward();
    [loss.value().data().to_vec(), gradients.of(logits).unwrap().data().to_vec()]
}

#[test]
fn large_logits_neither_overflow_nor_lose_their_slope() {
    assert_eq!(at_extremes(bce_with_logits, [1e4, -1e4]), [[1e4, 1e4], [1.0, -1.0]]);
    assert_eq!(at_extremes(bce_with_logits, [-1e4, 1e4]), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(at_extremes(|x, t| focal(x, t, 2.0, None), [1e4, -1e4]), [[1e4, 1e4], [1.0, -1.0]]);
    assert_eq!(at_extremes(|x, t| focal(x, t, 2.0, None), [-1e4, 1e4]), [[0.0, 0.0], [0.0, 0.0]]);
    let tape = Tape::<f32>::new();
    let logits = tape.variable(&Tensor::new([2, 3], &[1e4, -1e4, 0.0, -1e4, f32::NEG_INFINITY, 1e4]));
    let loss = CrossEntropy::default().rows(logits, &[1, 2]);
    assert_eq!(loss.value().data(), [2e4, 0.0]);
    let gradients = loss.sum().backward();
    assert_eq!(gradients.of(logits).unwrap().data(), [1.0, -1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_constant_side_has_the_loss_1_and_a_finite_way_out() {
    // 0.1 is not a binary fraction: the computed variance of such a constant need not be 0
    type Loss = for<'t> fn(Var<'t, f64>, Var<'t, f64>, isize) -> Var<'t, f64>;
    for loss in [pearson_loss as Loss, concordance_loss] {
        let tape = Tape::new();
        let x = tape.variable(&Tensor::full([3], 0.1));
        let y = tape.constant(&Tensor::new([3], &[1.0, 2.0, 6.0]));
        let value = loss(x, y, 0);
        assert!((value.item() - 1.0).abs() < 1e-12, "{}", value.item());
        let gradients = value.backward();
        let gradient = gradients.of(x).unwrap();
        assert!(gradient.data().iter().all(|g| g.is_finite() && g.abs() < 10.0), "{gradient:?}");
        assert!(gradient.data()[2] < 0.0, "more of the largest is better: {gradient:?}");
        let both = loss(x, x, 0);
        assert!((both.item() - 1.0).abs() < 1e-12, "{}", both.item());
        assert!(both.backward().of(x).unwrap().data().iter().all(|g| g.is_finite()));
    }
}

#[test]
fn a_perfect_prediction_has_no_loss_and_an_opposite_one_2() {
    let tape = Tape::new();
    let (x, tiny) = (tape.constant(&t().reshaped([12])), tape.constant(&t().reshaped([12])) * 1e-90);
    for (loss, expected) in [
        (pearson_loss(x * 3.0 + 1.0, x, 0), 0.0),
        (pearson_loss(tiny, x, 0), 0.0),
        (pearson_loss(-x, x, 0), 2.0),
        (concordance_loss(x, x, 0), 0.0),
    ] {
        assert!((loss.item() - expected).abs() < 1e-12, "{} is not {expected}", loss.item());
    }
    // scale and shift cost concordance
    assert!(concordance_loss(x * 3.0, x, 0).item() > 0.1 && concordance_loss(x + 1.0, x, 0).item() > 0.1);
}

#[test]
fn rows_of_zeros_are_equally_far_from_all() {
    let tape = Tape::new();
    let x = tape.variable(&Tensor::<f64>::zeros([3, 2]));
    for (loss, candidates) in [(info_nce(x, x, 0.1), 3.0_f64), (nt_xent(x, x, 0.1), 5.0)] {
        assert!((loss.item() - candidates.ln()).abs() < 1e-12);
        assert!(loss.backward().of(x).unwrap().data().iter().all(|g| g.is_finite()));
    }
}

#[test]
fn shapes_that_differ_panic_and_are_named() {
    let message = |f: fn(Var<'_, f64>, Var<'_, f64>)| {
        let panic = std::panic::catch_unwind(|| {
            let tape = Tape::new();
            f(tape.constant(&Tensor::zeros([4])), tape.constant(&Tensor::zeros([4, 1])));
        });
        panic.unwrap_err().downcast_ref::<String>().unwrap().clone()
    };
    type Loss = fn(Var<'_, f64>, Var<'_, f64>);
    let losses: [(&str, Loss); 9] = [
        ("squared error", |a, b| _ = squared_error(a, b)),
        ("huber", |a, b| _ = huber(a, b, 1.0)),
        ("binary cross-entropy", |a, b| _ = bce_with_logits(a, b)),
        ("focal loss", |a, b| _ = focal(a, b, 2.0, None)),
        ("cross-entropy", |a, b| _ = CrossEntropy::default().soft_rows(a, b)),
        ("pearson loss", |a, b| _ = pearson_loss(a, b, 0)),
        ("concordance loss", |a, b| _ = concordance_loss(a, b, 0)),
        ("InfoNCE", |a, b| _ = info_nce(a, b, 1.0)),
        ("NT-Xent", |a, b| _ = nt_xent(a, b, 1.0)),
    ];
    for (name, f) in losses {
        assert_eq!(message(f), format!("{name}: [4] x [4, 1]: shapes differ"));
    }
    let class = message(|_, b| _ = CrossEntropy::default().rows(b, &[0, 0, 1, 0]));
    assert_eq!(class, "cross-entropy: row 2 has class 1 of 1");
}

/// At the optimum of the weights e^s is the loss (twice the factor in front of it).
#[test]
fn uncertainty_weights_learn_the_size_of_each_loss() {
    let mut store = ParamStore::<f64>::new(0);
    let kinds = [LossKind::Regression, LossKind::Classification];
    let weighting = UncertaintyWeighting::new(&mut store.scope("weighting"), &kinds);
    let mut optimizer = Optimizer::new(OptimizerConfig::Sgd { momentum: 0.9, nesterov: false }, 0.0, &store);
    for _ in 0..500 {
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let step = Step::eval(&tape, &bound);
        let total = weighting.forward(step, &[tape.scalar(4.0), tape.scalar(0.25)]);
        let gradients = total.backward();
        drop(bound);
        optimizer.step(&mut store, &gradients, 0.1, 1.0);
    }
    let found = store.get(weighting.ln_variances).to_f64();
    assert!((found[0] - 4f64.ln()).abs() < 1e-6 && (found[1] - 0.5f64.ln()).abs() < 1e-6, "{found:?}");
}

/// Equations 1 and 2 of the paper, written out for two losses.
#[test]
fn gradient_norms_move_the_weights_as_in_the_paper() {
    let mut balance = GradNorm::new(2, 1.5, 0.01).unwrap();
    balance.update(&[2.0, 10.0], &[3.0, 1.0]).unwrap();
    // equal ratios: the mean pull is 2; weights 1 - 0.01 * 3 and 1 + 0.01 * 1, then scaled to a sum of 2
    let expected = [0.97 * 2.0 / 1.98, 1.01 * 2.0 / 1.98];
    assert!(balance.weights().iter().zip(expected).all(|(w, e)| (w - e).abs() < 1e-14), "{balance:?}");
    // the first loss fell to a quarter, the second to a half: relative rates 2/3 and 4/3
    let [a, b] = expected;
    balance.update(&[0.5, 5.0], &[1.0, 2.0]).unwrap();
    let mean = (a + 2.0 * b) / 2.0;
    let excess = [a - mean * (2f64 / 3.0).powf(1.5), 2.0 * b - mean * (4f64 / 3.0).powf(1.5)];
    let moved = [a - 0.01 * excess[0].signum(), b - 0.02 * excess[1].signum()];
    let sum: f64 = moved.iter().sum();
    assert!(balance.weights().iter().zip(moved).all(|(w, m)| (w - m * 2.0 / sum).abs() < 1e-14), "{balance:?}");
    // its state survives a checkpoint
    let text = serde_json::to_string(&balance).unwrap();
    assert_eq!(serde_json::from_str::<GradNorm>(&text).unwrap(), balance);
}

#[test]
fn gradient_norms_reject_what_has_no_rate() {
    assert!(GradNorm::new(0, 1.0, 0.1).is_err() && GradNorm::new(2, -1.0, 0.1).is_err());
    assert!(GradNorm::new(2, 1.0, 0.0).is_err());
    let mut balance = GradNorm::new(2, 1.0, 0.1).unwrap();
    let error = balance.update(&[1.0, 0.0], &[1.0, 1.0]).unwrap_err().to_string();
    assert!(error.contains("loss 1"), "{error}");
    assert!(balance.update(&[1.0, f64::NAN], &[1.0, 1.0]).is_err());
    assert_eq!(balance.weights(), [1.0, 1.0]);
}
