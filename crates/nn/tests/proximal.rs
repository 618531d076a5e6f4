//! Penalised fits against their optimality conditions.

use std::sync::LazyLock;

use gradome_nn::optim::{Fista, Penalty};

const ROWS: usize = 30;
const COLUMNS: usize = 12;

/// `[ROWS, COLUMNS]`, columns of different lengths.
static DESIGN: LazyLock<Vec<f64>> = LazyLock::new(|| {
    (0..ROWS * COLUMNS).map(|i| ((i * i) as f64 * 0.37).sin() * (1.0 + (i % COLUMNS) as f64 / 4.0)).collect()
});

/// `[ROWS]`
static TARGET: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let rows = DESIGN.chunks_exact(COLUMNS).enumerate();
    rows.map(|(i, a)| 2.0 * a[0] - 1.5 * a[5] + 0.3 * (i as f64).cos()).collect()
});

/// |A x - b|^2 / 2 and its gradient.
fn least_squares(x: &[f64], gradient: &mut [f64]) -> f64 {
    gradient.fill(0.0);
    let mut loss = 0.0;
    for (row, b) in DESIGN.chunks_exact(COLUMNS).zip(&*TARGET) {
        let residual = row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() - b;
        loss += residual * residual / 2.0;
        gradient.iter_mut().zip(row).for_each(|(g, a)| *g += residual * a);
    }
    loss
}

fn fit(penalty: &Penalty, settings: Fista) -> (Vec<f64>, Vec<f64>, gradome_nn::optim::FistaReport) {
    let mut x = vec![0.0; COLUMNS];
    let report = settings.minimize(&mut x, penalty, least_squares).unwrap();
    let mut gradient = vec![0.0; COLUMNS];
    let value = least_squares(&x, &mut gradient) + penalty.value(&x);
    assert!((value - report.value).abs() < 1e-12 * value, "{value} {report:?}");
    (x, gradient, report)
}

const ISTA: Fista =
    Fista { accelerate: false, restart: false, first_step: 1.0, max_iterations: 200_000, tolerance: 1e-9 };

#[test]
fn the_lasso_meets_its_optimality_conditions() {
    let weight = 12.0;
    for settings in [Fista::default(), Fista { restart: false, max_iterations: 100_000, ..Fista::default() }, ISTA] {
        let (x, gradient, report) = fit(&Penalty::L1 { weight }, settings);
        assert!(report.converged, "{report:?}");
        assert!(x.contains(&0.0) && x.iter().any(|&x| x != 0.0), "{x:?}");
        for (x, g) in x.iter().zip(&gradient) {
            if *x == 0.0 {
                assert!(g.abs() <= weight, "{g}");
            } else {
                assert!((g + weight * x.signum()).abs() < 1e-6, "{x}: {g}");
            }
        }
    }
}

#[test]
fn restarts_and_momentum_save_iterations() {
    let iterations = |settings| fit(&Penalty::L1 { weight: 1.0 }, settings).2.iterations;
    let fista = Fista { restart: false, max_iterations: 100_000, ..Fista::default() };
    let (restarted, plain, ista) = (iterations(Fista::default()), iterations(fista), iterations(ISTA));
    assert!(restarted < plain && restarted < ista, "{restarted} {plain} {ista}");
}

#[test]
fn the_group_lasso_keeps_or_drops_whole_groups() {
    let groups = vec![0..3, 3..6, 6..9, 9..11];
    let weight = 25.0;
    let (x, gradient, report) = fit(&Penalty::GroupL2 { weight, groups: groups.clone() }, Fista::default());
    assert!(report.converged);
    let mut dropped = 0;
    for group in groups {
        let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
        let (x, g) = (&x[group.clone()], &gradient[group]);
        if x.iter().all(|&x| x == 0.0) {
            dropped += 1;
            assert!(norm(g) <= weight);
        } else {
            let scaled: Vec<f64> = x.iter().zip(g).map(|(xi, g)| g + weight * xi / norm(x)).collect();
            assert!(norm(&scaled) < 1e-6, "{scaled:?}");
        }
    }
    assert!((1..4).contains(&dropped), "{dropped} groups dropped");
    // the last coordinate is in no group
    assert!(gradient[11].abs() < 1e-6);
}

#[test]
fn the_elastic_net_meets_its_optimality_conditions() {
    let (l1, l2) = (8.0, 5.0);
    let (x, gradient, report) = fit(&Penalty::ElasticNet { l1, l2 }, Fista::default());
    assert!(report.converged && x.contains(&0.0));
    for (x, g) in x.iter().zip(&gradient) {
        let smooth = g + l2 * x;
        assert!(if *x == 0.0 { smooth.abs() <= l1 } else { (smooth + l1 * x.signum()).abs() < 1e-6 });
    }
}

#[test]
fn non_negative_least_squares_meet_their_optimality_conditions() {
    let (x, gradient, report) = fit(&Penalty::NonNegative, Fista::default());
    assert!(report.converged && x.contains(&0.0) && x.iter().any(|&x| x > 0.0));
    for (x, g) in x.iter().zip(&gradient) {
        assert!(*x >= 0.0 && if *x == 0.0 { *g >= 0.0 } else { g.abs() < 1e-6 });
    }
}

/// value(z) + |z - x|^2 / (2 step) is least at the proximal point: no point near it does better.
#[test]
fn proximal_points_are_the_least_of_their_definition() {
    let x = [1.3, -0.2, 0.0, -2.5, 0.4];
    let penalties = [
        Penalty::L1 { weight: 0.7 },
        Penalty::GroupL2 { weight: 0.9, groups: vec![0..2, 2..3, 3..4] },
        Penalty::ElasticNet { l1: 0.3, l2: 1.1 },
        Penalty::NonNegative,
    ];
    for penalty in penalties {
        for step in [0.1, 0.5, 2.0] {
            let mut z = x;
            penalty.shrink(&mut z, step);
            let objective = |z: &[f64]| {
                let distance: f64 = z.iter().zip(&x).map(|(z, x)| (z - x) * (z - x)).sum();
                penalty.value(z) + distance / (2.0 * step)
            };
            let least = objective(&z);
            for i in 0..500 {
                let near: Vec<f64> = (0..5).map(|j| z[j] + 0.2 * ((i * 5 + j * j) as f64 * 1.3).sin()).collect();
                assert!(objective(&near) >= least, "{penalty:?}, step {step}: {near:?} is better than {z:?}");
            }
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let error =
        |penalty: Penalty| Fista::default().minimize(&mut [0.0; 4], &penalty, |_, _| 0.0).unwrap_err().to_string();
    assert!(error(Penalty::L1 { weight: -1.0 }).contains("'weight'"));
    assert!(error(Penalty::ElasticNet { l1: 0.0, l2: f64::NAN }).contains("'l2'"));
    assert!(error(Penalty::GroupL2 { weight: 1.0, groups: vec![2..4, 0..3] }).contains("0..3 and 2..4 overlap"));
    assert!(error(Penalty::GroupL2 { weight: 1.0, groups: vec![0..1, 3..5] }).contains("3..5 goes beyond the 4"));
    let wrong = Fista { first_step: 0.0, ..Fista::default() };
    assert!(wrong.minimize(&mut [0.0], &Penalty::NonNegative, |_, _| 0.0).is_err());
    let error = Fista::default().minimize(&mut [0.0], &Penalty::NonNegative, |_, _| f64::NAN).unwrap_err();
    assert!(error.to_string().contains("smooth part"), "{error}");
}
