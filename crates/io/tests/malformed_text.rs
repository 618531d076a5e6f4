//! Damaged text files: each error names the line and what is wrong.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
};

use flate2::{Compression, write::GzEncoder};
use gradome_io::{Orientation, ReadOptions, read, read_matrix_market, read_mtx, read_table_bytes, read_tenx_folder};

fn mtx_error(text: &str) -> String {
    read_matrix_market("m.mtx", text.as_bytes()).unwrap_err().to_string()
}

const HEADER: &str = "%%MatrixMarket matrix coordinate integer general\n";

#[test]
fn each_way_to_break_matrix_market_is_named() {
    let cases = [
        (String::new(), "m.mtx: the file is empty"),
        ("hello\n".into(), "m.mtx line 1: is not a MatrixMarket header"),
        ("%%MatrixMarket matrix coordinate complex general\n".into(), "values of kind `complex`"),
        ("%%MatrixMarket matrix coordinate integer hermitian\n".into(), "symmetry `hermitian`"),
        ("%%MatrixMarket matrix array pattern general\n".into(), "values of kind `pattern`"),
        (HEADER.into(), "ends before the size line"),
        (format!("{HEADER}% c\n2 2\n"), "line 3: `2 2` is not a size line"),
        (format!("{HEADER}2 -2 1\n"), "is not a size line"),
        (format!("{HEADER}2 2 1\n3 1 5\n"), "line 3: row 3 is outside 1 to 2"),
        (format!("{HEADER}2 2 1\n0 1 5\n"), "row 0 is outside 1 to 2"),
        (format!("{HEADER}2 2 1\n1 9 5\n"), "column 9 is outside 1 to 2"),
        (format!("{HEADER}2 2 1\n1 x 5\n"), "column `x` is not a whole number"),
        (format!("{HEADER}2 2 1\n1 1 five\n"), "value `five` is not a number"),
        (format!("{HEADER}2 2 1\n1 1 1.5\n"), "not whole although the header says integer"),
        (format!("{HEADER}2 2 1\n1 1 nan\n"), "value `nan` is not finite"),
        (format!("{HEADER}2 2 1\n1 1\n"), "`1 1` has no value"),
        (format!("{HEADER}2 2 1\n1 1 2 3\n"), "`3` after the entry"),
        (format!("{HEADER}2 2 2\n1 1 5\n"), "ends after 1 of 2 entries"),
        (format!("{HEADER}2 2 1\n1 1 5\n2 2 5\n"), "line 4: more entries than the 1"),
        ("%%MatrixMarket matrix coordinate integer symmetric\n2 3 0\n".into(), "must be square"),
        ("%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n".into(), "ends after 3 values"),
        ("%%MatrixMarket matrix array real general\n1 1\n1\n2\n".into(), "more values than"),
    ];
    for (text, expected) in cases {
        let error = mtx_error(&text);
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
}

#[test]
fn a_size_line_cannot_make_memory() {
    for size in ["99999999999 2 1\n1 1 5\n", "2 99999999999 1\n1 1 5\n", "4294967295 4294967295 0\n"] {
        let error = mtx_error(&format!("{HEADER}{size}"));
        assert!(error.contains("the size is wrong"), "{error}");
    }
    let error = mtx_error(&format!("{HEADER}2 2 18446744073709551615\n1 1 5\n"));
    assert!(error.contains("ends after 1 of"), "{error}");
    let error = mtx_error("%%MatrixMarket matrix array real general\n4000000000 4000000000\n1\n");
    assert!(error.contains("ends after 1 values"), "{error}");
    let error = mtx_error("%%MatrixMarket matrix array real general\n4000000000 0\n");
    assert!(error.contains("the size is wrong"), "{error}");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn truncated_and_damaged_gzip_is_said_in_plain_words() {
    let entries: String = (1..=2000).map(|at| format!("{at} {} {}\n", 2001 - at, at % 7)).collect();
    let whole = gzip(&format!("{HEADER}2000 2000 2000\n{entries}"));
    read_matrix_market("m.mtx.gz", &whole[..]).unwrap();
    for length in [3, 20, whole.len() / 2, whole.len() - 4] {
        let error = read_matrix_market("m.mtx.gz", &whole[..length]).unwrap_err().to_string();
        assert!(error.contains("truncated"), "{length}: {error}");
    }
    let mut damaged = whole.clone();
    let end = damaged.len() - 6;
    damaged[end] ^= 1;
    let error = read_matrix_market("m.mtx.gz", &damaged[..]).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    let table = gzip("c,g\nA,1\n");
    let error = read_table_bytes("t.csv.gz", &table[..table.len() - 9], Orientation::Auto).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn each_way_to_break_a_table_is_named() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "t.csv: the file is empty"),
        (b"c,g1,g2\n", "holds no values"),
        (b"c\nA\nB\n", "holds only names"),
        (b"c,g1,g2\nA,1,2\nB,3\n", "line 3: has 2 fields, 3 were expected"),
        (b"c,g1,g2\nA,1,2\nB,3,4,5\n", "line 3: has 4 fields, 3 were expected"),
        (b"c,g1\nA,1\nB,two\n", "line 3: field 2 `two` is not a finite number"),
        (b"c,g1\nA,inf\n", "line 2: field 2 `inf` is not a finite number"),
        (b"c,g1\nA,1\nA,2\n", "cell `A` is number 1 and again number 2"),
        (b"c,g1\n\xff\xfe,1\n", "line 2: the text is not UTF-8"),
    ];
    for (text, expected) in cases {
        let error = read_table_bytes("t.csv", text, Orientation::Auto).unwrap_err().to_string();
        assert!(error.contains(expected), "{:?} gave {error}", String::from_utf8_lossy(text));
    }
}

/// An empty folder of this test's own, with the given files.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("gradome-io-bad-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    folder
}

#[test]
fn a_tenx_folder_that_does_not_fit_together_is_named() {
    let matrix = format!("{HEADER}2 2 1\n1 2 5\n");
    let features = "E1\tA\tGene Expression\nE2\tB\tPeaks\n";
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "holds no matrix.mtx"),
        (&[("matrix.mtx", &matrix), ("barcodes.tsv", "x\ny\n")], "has no features.tsv"),
        (&[("matrix.mtx", &matrix), ("genes.tsv", features)], "has no barcodes.tsv"),
        (&[("matrix.mtx", &matrix), ("genes.tsv", features), ("barcodes.tsv", "x\n\tb\n")], "line 2: has no name"),
        (
            &[("matrix.mtx", &matrix), ("genes.tsv", features), ("barcodes.tsv", "x\nx\n")],
            "cell `x` is number 1 and again",
        ),
        (
            &[("matrix.mtx", &matrix), ("genes.tsv", "E1\tA\n"), ("barcodes.tsv", "x\ny\n")],
            "they do not belong together",
        ),
    ];
    for (at, (files, expected)) in cases.into_iter().enumerate() {
        let folder = folder(&format!("tenx{at}"), files);
        let error = read_tenx_folder(&folder).unwrap_err().to_string();
        assert!(error.contains(expected), "case {at} gave {error}");
        fs::remove_dir_all(folder).unwrap();
    }
    let good = folder("tenx-good", &[("matrix.mtx", &matrix), ("features.tsv", features), ("barcodes.tsv", "x\ny\n")]);
    let data = read_tenx_folder(&good).unwrap();
    assert_eq!(data.modality("rna").unwrap().matrix.to_row_major(), [0.0, 5.0]);
    assert_eq!(data.modality("atac").unwrap().matrix.to_row_major(), [0.0, 0.0]);
    fs::remove_dir_all(good).unwrap();
}

#[test]
fn side_tables_that_fit_no_side_are_listed() {
    let matrix = format!("{HEADER}2 3 1\n1 2 5\n");
    let folder = folder("sides", &[("counts.mtx", &matrix), ("genes.txt", "a\nb\nc\nd\ne\nf\n")]);
    let error = read_mtx(&folder.join("counts.mtx"), Orientation::Auto).unwrap_err().to_string();
    assert!(error.contains("fits none of the tables beside it") && error.contains("genes.txt (6 lines)"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_unknown_file_is_named_with_the_formats_there_are() {
    let folder = folder("unknown", &[("a.txt", "just words\n"), ("b.bin", "\0\u{1}\n,")]);
    let binary = folder.join("c.bin");
    fs::write(&binary, [0x80u8, 0x81, 0x82]).unwrap();
    for file in ["a.txt", "b.bin", "c.bin"] {
        let error = read(&folder.join(file), &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("is of no known format") && error.contains(".h5ad"), "{file}: {error}");
    }
    let error = read(&folder.join("missing.h5ad"), &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("missing.h5ad"), "{error}");
    fs::write(&binary, b"\x89HDF\r\n\x1a\nrubbish").unwrap();
    let error = read(&binary, &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("is not a whole HDF5 file"), "{error}");
    let places = ReadOptions { places: vec!["X".into()], ..ReadOptions::default() };
    fs::write(folder.join("t.csv"), "c,g\nA,1\n").unwrap();
    let error = read(&folder.join("t.csv"), &places).unwrap_err().to_string();
    assert!(error.contains("`X` is a place in an .h5ad file"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_endless_line_is_refused() {
    let endless = std::io::repeat(b'9').take(1 << 28);
    let error = read_matrix_market("m.mtx", endless).unwrap_err().to_string();
    assert!(error.contains("a line of more than 64 MiB"), "{error}");
}
