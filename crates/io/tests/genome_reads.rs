//! Reads and fragments: 5' ends by strand, real files, and what malformed ones are told.

use std::{collections::HashSet, fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use gradome_io::genome::{ChromSizes, Fragment, Fragments, ReadFormat, ReadsOptions, Tags};

mod common;

fn tags(text: &str) -> gradome_io::Result<Tags> {
    Tags::from_bed("x.bed", text.as_bytes(), &ReadsOptions::default())
}

fn sizes() -> ChromSizes {
    ChromSizes::from_text("g.sizes", "chr1\t1000\nchr2\t500\n".as_bytes()).unwrap()
}

fn sum(positions: &[u32]) -> u64 {
    positions.iter().map(|&position| u64::from(position)).sum()
}

#[test]
fn the_five_prime_end_is_the_start_of_a_forward_read_and_the_end_of_a_reverse_one() {
    let text = "track name=reads\n#comment\nchr2\t10\t46\ta\t0\t+\r\nchr1\t20\t56\tb\t0\t-\n\nchr2\t5\t41\tc\t0\t+\nchr2 7 43 d 0 -\n";
    let mut tags = tags(text).unwrap();
    let names: Vec<&str> = tags.chromosomes.iter().map(|chromosome| chromosome.name.as_str()).collect();
    assert_eq!(names, ["chr2", "chr1"], "order of first appearance");
    assert_eq!(tags.chromosomes[0].forward, [10, 5], "order of the file");
    assert_eq!((&tags.chromosomes[0].reverse[..], &tags.chromosomes[1].reverse[..]), (&[43][..], &[56][..]));
    tags.sort();
    assert_eq!(tags.chromosomes[0].forward, [5, 10]);
    assert_eq!(tags.total(), 4);
    assert_eq!(tags.read_length, Some(36));
}

#[test]
fn the_read_length_is_the_mean_of_the_first_ten_reads_rounded_down() {
    // Lengths 30, 31, .., 39, then 1000: the mean of the first ten is 34.5.
    let mut text: String = (0..10).map(|i| format!("chr1\t100\t{}\t.\t.\t+\n", 130 + i)).collect();
    text.push_str("chr1\t100\t1100\t.\t.\t+\n");
    assert_eq!(tags(&text).unwrap().read_length, Some(34));
}

#[test]
fn a_chromosome_may_be_called_track() {
    assert_eq!(tags("track\t1\t30\t.\t.\t+\n").unwrap().chromosomes[0].name, "track");
}

#[test]
fn reads_without_a_strand_are_forward_only_when_asked() {
    let options = ReadsOptions { strandless_is_forward: true, ..ReadsOptions::default() };
    let tags = Tags::from_bed("x.bed", "chr1\t10\t46\n".as_bytes(), &options).unwrap();
    assert_eq!(tags.chromosomes[0].forward, [10]);
    let error = Tags::from_bed("x.bed", "chr1\t10\t46\t.\t.\t.\n".as_bytes(), &options).unwrap_err().to_string();
    assert!(error.contains("x.bed line 1: has no strand"), "{error}");
}

#[test]
fn malformed_reads_are_named_by_line_and_field() {
    let good = "chr1\t10\t46\t.\t.\t+\n";
    let cases = [
        ("chr1\t1500\t1200\t.\t.\t+", "x.bed line 2: end 1200 is before start 1500"),
        ("chr1\t-5\t30\t.\t.\t+", "x.bed line 2: start -5 is negative"),
        ("chr1\t5\t-30\t.\t.\t+", "x.bed line 2: end -30 is negative"),
        ("chr1\t5\t4294967296\t.\t.\t+", "x.bed line 2: end 4294967296 is beyond 4294967295"),
        ("chr1\tfive\t30\t.\t.\t+", "x.bed line 2: start `five` (column 2) is not a whole number"),
        ("chr1\t5.5\t30\t.\t.\t+", "x.bed line 2: start `5.5` (column 2) is not a whole number"),
        ("chr1\t\t30\t.\t.\t+", "x.bed line 2: start `` (column 2) is not a whole number"),
        ("chr1\t5\t5\t.\t.\t+", "x.bed line 2: start and end are both 5"),
        ("chr1\t5\t30\t.\t.", "x.bed line 2: has no strand (column 6)"),
        ("chr1\t5\t30\t.\t.\t.", "x.bed line 2: has no strand (column 6)"),
        ("chr1\t5\t30\t.\t.\tF", "x.bed line 2: strand `F` is none of"),
        ("chr1\t5", "x.bed line 2: has 2 columns: end (column 3) is missing"),
        ("\t5\t30\t.\t.\t+", "x.bed line 2: the chromosome (column 1) is empty"),
    ];
    for (line, expected) in cases {
        let error = tags(&format!("{good}{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{line}: {error}");
    }
    for empty in ["", "# nothing\n", "track name=x\n\n"] {
        assert_eq!(tags(empty).unwrap_err().to_string(), "x.bed: holds no reads");
    }
    let binary = Tags::from_bed("x.bed", &b"\x80\x81\n"[..], &ReadsOptions::default()).unwrap_err().to_string();
    assert!(binary.starts_with("x.bed line 1: the text is not UTF-8"), "{binary}");
}

#[test]
fn reads_of_another_assembly_are_refused_when_sizes_are_given() {
    let sizes = sizes();
    let options = ReadsOptions { sizes: Some(&sizes), ..ReadsOptions::default() };
    let read = |text: &str| Tags::from_bed("x.bed", text.as_bytes(), &options);
    assert_eq!(read("chr2\t464\t500\t.\t.\t-\n").unwrap().chromosomes[0].size, Some(500));
    let past = read("chr2\t465\t501\t.\t.\t-\n").unwrap_err().to_string();
    assert!(past.contains("line 1: end 501 is past the end of chr2, which has 500 bp"), "{past}");
    let unknown = read("2\t465\t501\t.\t.\t-\n").unwrap_err().to_string();
    assert!(unknown.contains("chromosome `2` is not among the chromosome sizes"), "{unknown}");
}

#[test]
fn files_are_joined_by_chromosome() {
    let mut joined = tags("chr1\t10\t46\t.\t.\t+\n").unwrap();
    joined.append(tags("chr2\t1\t30\t.\t.\t+\nchr1\t20\t50\t.\t.\t-\nchr1\t5\t35\t.\t.\t+\n").unwrap()).unwrap();
    assert_eq!(joined.chromosome("chr1").unwrap().forward, [10, 5]);
    assert_eq!(joined.chromosome("chr1").unwrap().reverse, [50]);
    assert_eq!((joined.total(), joined.read_length), (4, Some(36)));
    let with_size = |size: u32| {
        let sizes = ChromSizes::new([("chr1", size)]).unwrap();
        let options = ReadsOptions { sizes: Some(&sizes), ..ReadsOptions::default() };
        Tags::from_bed("x.bed", "chr1\t10\t46\t.\t.\t+\n".as_bytes(), &options).unwrap()
    };
    let error = with_size(100).append(with_size(200)).unwrap_err().to_string();
    assert!(error.contains("chr1 has 100 bp in one file and 200 bp in another"), "{error}");
}

#[test]
fn bedpe_takes_three_columns_or_the_outer_ends_of_bedtools_pairs() {
    let text = "chr1\t10\t200\nchr1\t100\t150\tchr1\t20\t60\tpair\t30\t-\t+\nchr1\t1\t9\tchr2\t2\t8\tq\t0\t+\t-\n\
                .\t-1\t-1\tchr1\t5\t9\tq\t0\t.\t+\n";
    let fragments = Fragments::from_bedpe("x.bedpe", text.as_bytes(), &ReadsOptions::default()).unwrap();
    let found: Vec<(u32, u32)> = fragments.chromosomes[0].fragments.iter().map(|f| (f.start, f.end)).collect();
    assert_eq!(found, [(10, 200), (20, 150)]);
    assert_eq!((fragments.total(), fragments.skipped), (2, 2));
    assert_eq!(fragments.mean_length(), (190.0 + 130.0) / 2.0);
}

#[test]
fn fragments_keep_their_cells_and_counts() {
    let text = "# id=x\nchr1\t10\t60\tAA-1\t2\nchr1\t5\t50\tCC-1\t1\nchr1\t7\t50\tAA-1\t3\n";
    let read = |options: &ReadsOptions<'_>| Fragments::from_frag("f.tsv", text.as_bytes(), options);
    let mut all = read(&ReadsOptions::default()).unwrap();
    all.sort();
    let expected = [(5, 50, 1, 1), (7, 50, 0, 3), (10, 60, 0, 2)];
    let expected = expected.map(|(start, end, barcode, count)| Fragment { start, end, barcode, count });
    assert_eq!(all.chromosomes[0].fragments, expected);
    assert_eq!(all.barcodes, ["AA-1", "CC-1"]);
    let kept = HashSet::from(["CC-1".to_owned()]);
    let cells = read(&ReadsOptions { barcodes: Some(&kept), ..ReadsOptions::default() }).unwrap();
    assert_eq!((cells.total(), cells.skipped, &cells.barcodes[..]), (1, 2, &["CC-1".to_owned()][..]));
    let mut joined = cells;
    joined.append(all).unwrap();
    assert_eq!(joined.barcodes, ["CC-1", "AA-1"]);
    assert_eq!(joined.chromosomes[0].fragments.iter().map(|f| f.barcode).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let none = HashSet::from(["GG".to_owned()]);
    let error = read(&ReadsOptions { barcodes: Some(&none), ..ReadsOptions::default() }).unwrap_err().to_string();
    assert!(error.contains("f.tsv: has none of the 1 barcodes asked for"), "{error}");
}

#[test]
fn malformed_fragments_are_named_by_line_and_field() {
    let cases = [
        ("chr1\t10\t60", "f.tsv line 1: has 3 columns: barcode (column 4) is missing"),
        ("chr1\t10\t60\tAA", "f.tsv line 1: has 4 columns: count (column 5) is missing"),
        ("chr1\t10\t60\tAA\tmany", "f.tsv line 1: count `many` (column 5) is not a whole number"),
        ("chr1\t10\t60\tAA\t0", "f.tsv line 1: barcode `AA` with count 0"),
        ("chr1\t60\t10\tAA\t1", "f.tsv line 1: end 10 is before start 60"),
        ("chr1\t60\t60\tAA\t1", "f.tsv line 1: start and end are both 60"),
        ("", "f.tsv: holds no fragments"),
    ];
    for (text, expected) in cases {
        let error = Fragments::from_frag("f.tsv", text.as_bytes(), &ReadsOptions::default()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let pair = "chr1\t10\t60\tchr1\t90\t80\tp\t0\t+\t-\n";
    let error = Fragments::from_bedpe("p.bedpe", pair.as_bytes(), &ReadsOptions::default()).unwrap_err().to_string();
    assert!(error.contains("p.bedpe line 1: second end 80 is not behind second start 90"), "{error}");
}

#[test]
fn chromosome_sizes_that_cannot_be_are_refused() {
    let cases = [
        ("chr1\t0\n", "line 1: chromosome `chr1` of length 0"),
        ("chr1\t10\nchr1\t10\n", "line 2: chromosome `chr1` stands twice"),
        ("chr1\n", "line 1: has 1 columns: length (column 2) is missing"),
        ("chr1\tlong\n", "line 1: length `long` (column 2) is not a whole number"),
        ("", "names no chromosome"),
    ];
    for (text, expected) in cases {
        let error = ChromSizes::from_text("g.sizes", text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let sizes = sizes();
    assert_eq!((sizes.get("chr2"), sizes.place("chr2"), sizes.total(), sizes.len()), (Some(500), Some(1), 1500, 2));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g.sizes");
    sizes.write(&path).unwrap();
    assert_eq!(ChromSizes::read(&path).unwrap(), sizes);
}

#[test]
fn the_format_of_single_reads_is_told_by_content_and_others_get_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        ReadFormat::detect(&folder.path().join(name)).map_err(|error| error.to_string())
    };
    let bed = b"chr1\t10\t46\t.\t.\t+\n";
    assert_eq!(write("a", bed), Ok(ReadFormat::Bed));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bed).unwrap();
    assert_eq!(write("b", &gzip.finish().unwrap()), Ok(ReadFormat::Bed));
    assert!(write("c", b"chr1\t10\t20\t.\t.\t+\n").unwrap_err().contains("10 bp long, which no reads are"));
    assert!(write("d", b"@SQ\tSN:chr1\tLN:100\n").unwrap_err().contains("samtools view -b"));
    assert!(write("e", b"CRAM\x03\x00").unwrap_err().contains("samtools view -b"));
    assert!(write("f", b"").unwrap_err().contains("the file is empty"));
    assert!(write("g", b"# only a comment\n").unwrap_err().contains("holds no reads"));
}

#[test]
fn real_reads_have_the_sums_of_five_prime_ends_that_awk_finds() {
    let Some(folder) = common::data() else { return };
    let cases = [
        ("CTCF_SE_ChIP_chr22_50k.bed.gz", (24_867, 843_906_875_057_u64, 24_755, 838_069_190_244_u64)),
        ("CTCF_SE_CTRL_chr22_50k.bed.gz", (25_317, 874_889_609_439_u64, 25_520, 881_142_583_162_u64)),
    ];
    for (file, (forward, forward_sum, reverse, reverse_sum)) in cases {
        let path = folder.join("regulatory/peaks").join(file);
        assert_eq!(ReadFormat::detect(&path).unwrap(), ReadFormat::Bed);
        let tags = Tags::read(&path, ReadFormat::Bed, &ReadsOptions::default()).unwrap();
        assert_eq!(tags.chromosomes.len(), 1);
        let chr22 = tags.chromosome("chr22").unwrap();
        assert_eq!((chr22.forward.len(), sum(&chr22.forward)), (forward, forward_sum), "{file}");
        assert_eq!((chr22.reverse.len(), sum(&chr22.reverse)), (reverse, reverse_sum), "{file}");
        assert_eq!(tags.read_length, Some(101));
    }
}

#[test]
fn real_fragments_have_the_totals_that_awk_finds() {
    let Some(folder) = common::data() else { return };
    let path = folder.join("regulatory/atac/scatac_chr22_100cells.fragments.tsv.gz");
    let fragments = Fragments::read(&path, ReadFormat::Frag, &ReadsOptions::default()).unwrap();
    assert_eq!((fragments.total(), fragments.barcodes.len()), (57_115, 100));
    assert_eq!((fragments.mean_length() * 57_115.0).round() as u64, 11_409_900);
    let counts: u64 = fragments.chromosomes[0].fragments.iter().map(|fragment| u64::from(fragment.count)).sum();
    assert_eq!(counts, 67_421);
    let cell = HashSet::from(["AAACGAAAGACTCGGA".to_owned()]);
    let options = ReadsOptions { barcodes: Some(&cell), ..ReadsOptions::default() };
    assert_eq!(Fragments::read(&path, ReadFormat::Frag, &options).unwrap().total(), 834);
}
