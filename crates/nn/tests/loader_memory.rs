//! Large files are read with little memory; alone in its process, which is what is measured.
#![cfg(target_os = "linux")]

use std::os::unix::fs::FileExt;

use gradome_nn::data::{ArrayFile, DataLoader, Dataset, LoaderConfig};

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_file_of_200_mb_is_read_with_little_memory() {
    const ROWS: usize = 12_800;
    const WIDTH: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.npy");
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ROWS}, {WIDTH}), }}");
    let mut start = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    start.extend(format!("{header:<117}\n").bytes());
    std::fs::write(&path, &start).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let end = (start.len() + ROWS * WIDTH * 4) as u64;
    file.set_len(end).unwrap();
    // the last number of the last row shows that the end was read
    file.write_all_at(&2.5f32.to_le_bytes(), end - 4).unwrap();
    let data = Dataset::<f32>::new([("x", ArrayFile::npy(&path).unwrap().into())]).unwrap();
    let loader = DataLoader::new(data, LoaderConfig { batch_size: 16, ..LoaderConfig::default() }).unwrap();
    let before = resident();
    let (mut most, mut rows, mut found) = (0, 0, 0.0);
    for batch in loader.epoch(0) {
        let batch = batch.unwrap();
        rows += batch.rows.len();
        if let Some(last) = batch.rows.iter().position(|&row| row == ROWS - 1) {
            found = batch.arrays[0].at(&[last, WIDTH - 1]);
        }
        most = most.max(resident());
    }
    assert_eq!((rows, found), (ROWS, 2.5));
    let growth = most.saturating_sub(before);
    assert!(growth < 20_000_000, "resident memory grew by {growth} bytes");
}
