//! Training a learned peak caller on made-up reads, and what it says afterwards.

use gradome_epigenome::peaks::{
    DenoiserConfig, FnoPeakCaller, FnoPeakCallerConfig, PeakCaller, PeakCallerConfig, PeakFitOptions, PeakLabels,
    ReadLibrary, Stretch, TRACKS, Thinning, TrainedPeakCaller,
};
use gradome_io::genome::{ReadsOptions, Tags};
use gradome_nn::Rng;
use rand::{RngExt, SeedableRng};

const SIZE: u32 = 400_000;
/// Base pairs from one peak to the next.
const PERIOD: u32 = 4_000;

/// Reads of a chromosome with 40 fragments of 200 bp around each multiple of [`PERIOD`], and some anywhere.
fn reads(seed: u64, peaks: bool) -> Tags {
    let mut rng = Rng::seed_from_u64(seed);
    let mut bed = String::new();
    let mut add = |start: u32, forward: bool| {
        let (from, to) = if forward { (start, start + 36) } else { (start + 164, start + 200) };
        bed += &format!("chr1\t{from}\t{to}\t.\t.\t{}\n", if forward { '+' } else { '-' });
    };
    for centre in (PERIOD..SIZE - PERIOD).step_by(PERIOD as usize) {
        for i in 0..if peaks { 40 } else { 0 } {
            add(centre - 100 + rng.random_range(0..60) - 30, i % 2 == 0);
        }
    }
    for _ in 0..2_000 {
        add(rng.random_range(0..SIZE - 400), rng.random());
    }
    Tags::from_bed("reads.bed", bed.as_bytes(), &ReadsOptions::default()).unwrap()
}

fn library() -> ReadLibrary {
    ReadLibrary::new(reads(1, true), Some(reads(2, false)), 200).unwrap()
}

fn labels() -> PeakLabels {
    PeakLabels::new((PERIOD..SIZE - PERIOD).step_by(PERIOD as usize).map(|centre| ("chr1", centre - 100..centre + 100)))
}

fn stretches() -> Vec<Stretch> {
    let part = |i: u32| Stretch { chromosome: "chr1".into(), start: i * SIZE / 4, bins: (SIZE / 4 / 50) as usize };
    (0..4).map(part).collect()
}

fn options() -> PeakFitOptions {
    let mut options = PeakFitOptions { bin: 50, window: 200, members: 2, keep: 0.5, ..PeakFitOptions::quiet(3) };
    options.fit.trainer.max_epochs = 40;
    options.fit.trainer.batch_size = 4;
    options.fit.trainer.learning_rate = 0.02;
    options
}

fn small() -> PeakCallerConfig {
    PeakCallerConfig {
        tracks: TRACKS.len(),
        filters: 6,
        kernel_sizes: vec![5, 9],
        dilations: vec![1, 2],
        ..Default::default()
    }
}

#[test]
fn a_caller_finds_peaks_in_half_of_the_reads_and_its_files_say_the_same() {
    let library = library();
    let fit = TrainedPeakCaller::<PeakCaller>::fit(&small(), &library, &stretches(), &labels(), &options()).unwrap();
    assert!(fit.held_out.average_precision() > 0.9, "{}", fit.held_out.average_precision());

    let whole = library.stretches(50).remove(0);
    let probabilities = fit.trained.apply(&library, &whole, 50).unwrap();
    let peaks = probabilities.call(fit.trained.threshold(), 100, 100);
    let near = |position: u32| position % PERIOD < 200 || position % PERIOD > PERIOD - 200;
    let right = peaks.iter().filter(|peak| near(peak.start + peak.summit.unwrap())).count();
    assert!(right >= 90 && right * 20 >= peaks.len() * 19, "{right} of {} are true, of 98 to find", peaks.len());

    let folder = tempfile::tempdir().unwrap();
    fit.trained.save(folder.path()).unwrap();
    let again = TrainedPeakCaller::<PeakCaller>::load(folder.path()).unwrap();
    assert_eq!(again.apply(&library, &whole, 50).unwrap(), probabilities);
    std::fs::remove_file(folder.path().join("member-1.safetensors")).unwrap();
    assert!(TrainedPeakCaller::<PeakCaller>::load(folder.path()).is_err());
    assert!(TrainedPeakCaller::<FnoPeakCaller>::load(folder.path()).is_err());
}

/// ln gamma(x) for x of 1 or more, by Stirling's series above 10.
fn ln_gamma(x: f64) -> f64 {
    if x < 10.0 {
        return ln_gamma(x + 1.0) - x.ln();
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[test]
fn a_quarter_of_the_reads_tells_the_pileup_of_all_once_the_network_has_learned_to_without_labels() {
    let library = library();
    let mut options = PeakFitOptions { keep: 0.25, pretraining_epochs: 40, ..options() };
    options.fit.trainer.max_epochs = 20;
    let fit = TrainedPeakCaller::<PeakCaller>::fit(&small(), &library, &stretches(), &labels(), &options).unwrap();
    // the mean of -ln p under Poisson means, of the pileup of all reads
    let loss = |mean: &dyn Fn(f64) -> f64| {
        let (mut sum, mut count) = (0.0, 0.0);
        for stretch in stretches() {
            let few = library.tracks(&stretch, 50, Some(Thinning { keep: 0.25, seed: 9 }));
            let all = library.tracks(&stretch, 50, None);
            for (few, all) in few[..stretch.bins].iter().zip(&all[..stretch.bins]) {
                let (x, mean) = (f64::from(*all), mean(f64::from(*few)));
                sum += mean - x * mean.ln() + ln_gamma(x + 1.0);
                count += 1.0;
            }
        }
        sum / count
    };
    // four times the pileup of the quarter, with the half of a read that keeps it off 0
    let scaled = loss(&|few| 4.0 * few + 0.5);
    for history in &fit.pretraining {
        let (_, learned) = *history.train("loss").last().unwrap();
        assert!(learned < scaled, "{learned} against {scaled}");
    }
    assert_eq!((fit.pretraining.len(), fit.pretraining[0].epochs.len()), (2, 40));
    assert!(fit.held_out.average_precision() > 0.85, "{}", fit.held_out.average_precision());

    let all = PeakFitOptions { keep: 1.0, ..options };
    let error = TrainedPeakCaller::<PeakCaller>::fit(&small(), &library, &stretches(), &labels(), &all).err().unwrap();
    assert!(error.to_string().contains("no fuller pileup"), "{error}");
}

#[test]
fn training_gives_the_same_bits_at_any_number_of_threads() {
    let (library, mut options) = (library(), options());
    options.fit.trainer.max_epochs = 2;
    let config = PeakCallerConfig {
        denoiser: Some(DenoiserConfig { window: 40, step: 20, latent_dim: 2, hidden_dim: 8, ..Default::default() }),
        ..small()
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let fit =
                TrainedPeakCaller::<PeakCaller>::fit(&config, &library, &stretches(), &labels(), &options).unwrap();
            fit.trained.apply(&library, &stretches()[0], 50).unwrap().probabilities
        })
    };
    let one = run(1);
    assert!(one.iter().all(|p| (0.0..=1.0).contains(p)));
    assert_eq!(one, run(3));
}

#[test]
fn a_fourier_caller_trained_at_one_resolution_works_at_another() {
    let library = library();
    let config = FnoPeakCallerConfig {
        tracks: TRACKS.len(),
        hidden: 8,
        blocks: 2,
        local_kernels: vec![5, 9],
        ..Default::default()
    };
    let fit = TrainedPeakCaller::<FnoPeakCaller>::fit(&config, &library, &stretches(), &labels(), &options()).unwrap();
    assert!(fit.held_out.average_precision() > 0.8, "{}", fit.held_out.average_precision());
    let probabilities = fit.trained.apply(&library, &library.stretches(25)[0], 25).unwrap();
    assert_eq!(probabilities.probabilities.len(), library.stretches(25)[0].bins);
}

#[test]
fn what_cannot_be_trained_on_is_an_error() {
    let library = library();
    let fit = |stretches: &[Stretch], labels: &PeakLabels, options: &PeakFitOptions| {
        let fit = TrainedPeakCaller::<PeakCaller>::fit(&small(), &library, stretches, labels, options);
        fit.err().expect("it cannot be trained").to_string()
    };
    assert!(fit(&stretches()[..1], &labels(), &options()).contains("too few for 2 members"));
    assert!(fit(&stretches(), &PeakLabels::default(), &options()).contains("no bin"));
    assert!(fit(&stretches(), &labels(), &PeakFitOptions { bin: 0, ..options() }).contains("0 bp"));
    let one_track = PeakCallerConfig { tracks: 1, ..small() };
    let error = TrainedPeakCaller::<PeakCaller>::fit(&one_track, &library, &stretches(), &labels(), &options());
    assert!(error.err().unwrap().to_string().contains("tracks"));
    assert!(ReadLibrary::new(Tags::default(), None, 200).is_err());
    let other = Tags::from_bed("c.bed", &b"chr2\t1\t30\t.\t.\t+\n"[..], &ReadsOptions::default()).unwrap();
    let error = ReadLibrary::new(reads(1, true), Some(other), 200).err().unwrap().to_string();
    assert!(error.contains("no reads on chr1"), "{error}");
}
