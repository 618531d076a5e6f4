//! From files to predictions: DNA together with tracks on a small made-up genome, and what happens at its ends.

use std::path::{Path, PathBuf};

use gradome_epigenome::contextual::{
    BASE_N, ContextualEpigenomicsConfig, ContextualWindows, Encoder, HeadConfig, HeadKind, Level, MARK_BIN, Split,
    Strands, Tracks, TrainedContextualEpigenomics, around, evaluate,
};
use gradome_io::genome::{BedRecord, ChromSizes, Window};
use gradome_nn::trainer::FitOptions;
use gradome_nn::{Rng, TrainerConfig};
use rand::{RngExt, SeedableRng};

/// A folder of its own that is taken away at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gradome-contextual-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn window(chromosome: &str, start: i64, end: i64) -> Window {
    Window { chromosome: chromosome.into(), start, end }
}

fn config(dna: bool, tracks: &[&str], bin_size: usize, head: HeadConfig) -> ContextualEpigenomicsConfig {
    ContextualEpigenomicsConfig {
        dna,
        tracks: tracks.iter().map(|&name| name.to_owned()).collect(),
        bin_size,
        hidden_dim: 8,
        dna_kernel: 7,
        dropout: 0.0,
        encoder: Encoder::Convolution { layers: 1, kernel: 3, growth: 1, max_dilation: 1 },
        strands: Strands::Average,
        heads: vec![head],
        ..ContextualEpigenomicsConfig::default()
    }
}

/// Ten kb of random bases in which GATTACA (on either strand) binds where the DNA is open, every 50 bp or so.
fn genome(folder: &Folder) -> (PathBuf, PathBuf, PathBuf) {
    let mut rng = Rng::seed_from_u64(3);
    let (mut fasta, mut open, mut bound) = (String::new(), String::new(), String::new());
    for chromosome in ["chrA", "chrB"] {
        let mut bases: Vec<u8> = (0..10_000).map(|_| b"ACGT"[rng.random_range(0..4)]).collect();
        for start in (0..10_000).step_by(50) {
            let (has_site, is_open): (bool, bool) = (rng.random(), rng.random());
            if has_site {
                let site: &[u8] = if rng.random() { b"GATTACA" } else { b"TGTAATC" };
                bases[start + 20..start + 27].copy_from_slice(site);
            }
            if is_open {
                open += &format!("{chromosome}\t{start}\t{}\t1\n", start + 50);
            }
            if has_site && is_open {
                bound += &format!("{chromosome}\t{start}\t{}\t1\n", start + 50);
            }
        }
        fasta += &format!(">{chromosome}\n{}\n", String::from_utf8(bases).unwrap());
    }
    (folder.write("genome.fa", &fasta), folder.write("open.bedGraph", &open), folder.write("bound.bedGraph", &bound))
}

fn sizes() -> ChromSizes {
    ChromSizes::new([("chrA", 10_000), ("chrB", 10_000)]).unwrap()
}

fn trainer(epochs: usize) -> TrainerConfig {
    TrainerConfig { max_epochs: epochs, batch_size: 8, learning_rate: 1e-2, seed: 1, ..TrainerConfig::default() }
}

#[test]
fn dna_and_tracks_together_tell_more_than_either() {
    let folder = Folder::new("together");
    let (fasta, open, bound) = genome(&folder);
    let mut tracks = Tracks::new(Some(sizes()));
    tracks.add_signal("open", &open).unwrap();
    tracks.add_signal("bound", &bound).unwrap();
    let regions = tracks.tile(500).unwrap();
    assert_eq!(regions.len(), 40);
    let split = Split::by_blocks(&regions, 2_000, 0.3, 0);
    let score = |dna: bool, names: &[&str]| {
        let config = config(dna, names, 50, HeadConfig::new("bound", HeadKind::Binary, Level::Position));
        let genome: Option<&Path> = dna.then_some(&fasta);
        let windows = tracks.windows(&config, &regions, genome, true).unwrap();
        let options = FitOptions::quiet(trainer(60));
        let fit = TrainedContextualEpigenomics::fit(&config, &windows, &split, &options).unwrap();
        let held_out = windows.select(&split.validation);
        let found = fit.trained.predict(&held_out).unwrap();
        evaluate(&config.heads[0], &found.heads[0], &held_out.targets[0])[0].auprc.unwrap()
    };
    let (both, dna, track) = (score(true, &["open"]), score(true, &[]), score(false, &["open"]));
    assert!(both > 0.7 && both > 2.0 * dna && both > 2.0 * track, "both {both}, DNA {dna}, track {track}");
}

#[test]
fn windows_past_a_chromosome_s_end_are_masked_there() {
    let folder = Folder::new("ends");
    let fasta = folder.write("g.fa", ">chr1\nACGTACGTAC\n");
    let signal = folder.write("s.bedGraph", "chr1\t0\t4\t2\nchr1\t6\t10\t4\n");
    let mut tracks = Tracks::new(Some(ChromSizes::new([("chr1", 10)]).unwrap()));
    tracks.add_signal("s", &signal).unwrap();
    let config = config(true, &["s"], 2, HeadConfig::new("s", HeadKind::Regression, Level::Position));
    let found = tracks.windows(&config, &[window("chr1", -4, 4), window("chr1", 6, 14)], Some(&fasta), true).unwrap();
    assert_eq!((found.windows, found.length), (2, 4));
    assert_eq!(found.mask, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(found.tracks, [0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 0.0, 0.0]);
    assert!(found.targets[0][..2].iter().chain(&found.targets[0][6..]).all(|value| value.is_nan()));
    assert_eq!(found.targets[0][2..6], [2.0, 2.0, 4.0, 4.0]);
    // ACGT at the first window's inside, GTAC at the second's
    assert_eq!(found.dna[4..12], [0, 1, 2, 3, 2, 3, 0, 1]);
    assert!(found.dna[..4].iter().chain(&found.dna[12..]).all(|&base| base == BASE_N));
    // a window that lies past the end altogether has nothing but padding
    let beyond = tracks.windows(&config, &[window("chr1", 20, 28)], Some(&fasta), true).unwrap();
    assert_eq!(beyond.mask, [0.0; 4]);
}

#[test]
fn presence_calls_are_tracks_and_targets() {
    let folder = Folder::new("marks");
    let file = folder.write("cell_chr1_binary.txt", "cell\tchr1\nK4\tK27\n1\t0\n0\t2\n1\t1\n");
    let mut tracks = Tracks::new(None);
    tracks.add_marks(std::slice::from_ref(&file)).unwrap();
    assert_eq!(tracks.chromosomes(), [("chr1".to_owned(), 600)]);
    let regions = tracks.tile(2 * MARK_BIN).unwrap();
    let config = config(false, &["K4"], MARK_BIN, HeadConfig::new("K27", HeadKind::Binary, Level::Position));
    let found = tracks.windows(&config, &regions, None, true).unwrap();
    assert_eq!(found.tracks, [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(found.mask, [1.0, 1.0, 1.0, 0.0]);
    let unknown: Vec<bool> = found.targets[0].iter().map(|value| value.is_nan()).collect();
    assert_eq!(unknown, [false, true, false, true]);
    assert!(tracks.add_marks(&[file]).unwrap_err().to_string().contains("two tracks called 'K4'"));
    let shifted = tracks.windows(&config, &[window("chr1", 100, 500)], None, true).unwrap_err().to_string();
    assert!(shifted.contains("start at a multiple"), "{shifted}");
    let other = tracks.windows(&config, &[window("chr2", 0, 400)], None, true).unwrap_err().to_string();
    assert!(other.contains("no chromosome chr2"), "{other}");
    let uneven = tracks.windows(&config, &[window("chr1", 0, 400), window("chr1", 0, 200)], None, true);
    assert!(uneven.unwrap_err().to_string().contains("all have the length 400"));
}

#[test]
fn windows_stand_around_the_middle_of_intervals() {
    let record = BedRecord { chromosome: "chr1".into(), start: 1_000, end: 1_301, ..BedRecord::default() };
    assert_eq!(around(&record, 200, 1), window("chr1", 1_050, 1_250));
    assert_eq!(around(&record, 400, 200), window("chr1", 800, 1_200));
}

#[test]
fn whole_blocks_are_held_out() {
    let regions: Vec<Window> = (0..100).map(|i| window("chr1", i * 100, i * 100 + 100)).collect();
    let split = Split::by_blocks(&regions, 1_000, 0.2, 7);
    assert_eq!((split.train.len(), split.validation.len()), (80, 20));
    for block in 0..10 {
        let held_out = split.validation.iter().filter(|&&w| w / 10 == block).count();
        assert!(held_out == 0 || held_out == 10);
    }
    assert!(Split::by_blocks(&regions, 100_000, 0.2, 7).validation.is_empty(), "a single block trains");
}

fn small() -> (ContextualEpigenomicsConfig, ContextualWindows, Split) {
    let config = config(false, &["x"], 1, HeadConfig::new("y", HeadKind::Counts, Level::Position));
    let mut rng = Rng::seed_from_u64(2);
    let tracks: Vec<f32> = (0..400).map(|_| rng.random()).collect();
    let targets = vec![tracks.iter().map(|&x| (x * 5.0).floor()).collect()];
    let windows = ContextualWindows { windows: 20, length: 20, tracks, targets, ..ContextualWindows::default() };
    (config, windows, Split { train: (0..16).collect(), validation: (16..20).collect() })
}

#[test]
fn a_model_survives_its_file_and_any_number_of_threads() {
    let (config, windows, split) = small();
    let config = ContextualEpigenomicsConfig { dropout: 0.2, strands: Strands::Augment, ..config };
    let options = FitOptions::quiet(trainer(4));
    let fit = || TrainedContextualEpigenomics::fit(&config, &windows, &split, &options).unwrap().trained;
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit().predict(&windows).unwrap())
    };
    let one = with(1);
    assert_eq!(one, with(3));
    let folder = Folder::new("file");
    let path = folder.0.join("model.safetensors");
    fit().save(&path).unwrap();
    let loaded = TrainedContextualEpigenomics::load(&path).unwrap();
    assert_eq!(loaded.config(), &config);
    assert_eq!(loaded.predict(&windows).unwrap(), one);
}

#[test]
fn training_refuses_what_it_cannot_learn_from() {
    let (config, windows, split) = small();
    let options = FitOptions::quiet(trainer(1));
    let refused = |windows: &ContextualWindows, split: &Split| {
        TrainedContextualEpigenomics::fit(&config, windows, split, &options).err().expect("accepted").to_string()
    };
    let empty = ContextualWindows::default();
    assert!(refused(&empty, &Split::default()).contains("0 windows"));
    assert!(refused(&windows, &Split::default()).contains("training windows"));
    assert!(refused(&windows, &Split { train: vec![20], validation: vec![] }).contains("no window number 20"));
    let unlabelled = ContextualWindows { targets: Vec::new(), ..windows.clone() };
    assert!(refused(&unlabelled, &split).contains("targets"));
    let mut broken = windows;
    broken.tracks[25] = f32::NAN;
    assert!(refused(&broken, &split).contains("window 2 position 6 holds NaN"));
}
