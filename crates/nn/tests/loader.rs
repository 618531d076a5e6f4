//! Data sets and their batches, in memory and in files.

use std::path::{Path, PathBuf};

use gradome_nn::data::{Array, ArrayFile, DataLoader, Dataset, Dtype, LoaderConfig};
use gradome_tape::Tensor;

/// A `.npy` file as `numpy.save` writes it: the header padded with spaces to a multiple of 64 bytes.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(data);
    bytes
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn all_rows(file: ArrayFile) -> Tensor<f64> {
    let rows: Vec<usize> = (0..file.shape()[0]).collect();
    Dataset::new([("x", file.into())]).unwrap().batch(&rows).unwrap().remove(0)
}

#[test]
fn every_type_of_number_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let wide = |bytes: Vec<Vec<u8>>| bytes.concat();
    let cases: [(&str, Dtype, Vec<u8>, [f64; 4]); 10] = [
        (
            "<f4",
            Dtype::F32,
            wide([0.5f32, -1.0, 3e38, 0.0].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.5, -1.0, f64::from(3e38f32), 0.0],
        ),
        (
            "<f8",
            Dtype::F64,
            wide([0.1f64, -1e300, 0.0, 7.0].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.1, -1e300, 0.0, 7.0],
        ),
        ("|u1", Dtype::U8, vec![0, 1, 128, 255], [0.0, 1.0, 128.0, 255.0]),
        ("|i1", Dtype::I8, vec![0, 1, 128, 255], [0.0, 1.0, -128.0, -1.0]),
        (
            "<u2",
            Dtype::U16,
            wide([0u16, 1, 256, 65535].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.0, 1.0, 256.0, 65535.0],
        ),
        (
            "<i2",
            Dtype::I16,
            wide([0i16, 1, -256, 32767].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.0, 1.0, -256.0, 32767.0],
        ),
        (
            "<u4",
            Dtype::U32,
            wide([0u32, 1, 2, u32::MAX].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.0, 1.0, 2.0, 4294967295.0],
        ),
        (
            "<i4",
            Dtype::I32,
            wide([0i32, 1, -70000, i32::MIN].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.0, 1.0, -70000.0, -2147483648.0],
        ),
        (
            "<u8",
            Dtype::U64,
            wide([0u64, 1, 2, 1 << 40].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.0, 1.0, 2.0, 1099511627776.0],
        ),
        (
            "<i8",
            Dtype::I64,
            wide([0i64, 1, -2, -(1 << 40)].map(|v| v.to_le_bytes().to_vec()).into()),
            [0.0, 1.0, -2.0, -1099511627776.0],
        ),
    ];
    for (descr, dtype, bytes, expected) in cases {
        let path = written(folder.path(), "a.npy", &npy(&header(descr, "(2, 2)"), &bytes));
        let file = ArrayFile::npy(&path).unwrap();
        assert_eq!((file.dtype(), &*file.shape()), (dtype, &[2, 2][..]));
        assert_eq!(all_rows(file).data(), expected, "{descr}");
        let path = written(folder.path(), "a.raw", &bytes);
        assert_eq!(all_rows(ArrayFile::raw(&path, dtype, &[4]).unwrap()).data(), expected, "raw {descr}");
    }
    let path = written(folder.path(), "b.npy", &npy(&header("|b1", "(3,)"), &[1, 0, 1]));
    assert_eq!(all_rows(ArrayFile::npy(&path).unwrap()).data(), [1.0, 0.0, 1.0]);
}

/// The bytes that `numpy.save` of NumPy 2 writes for `np.arange(6, dtype='<f4').reshape(3, 2)`.
#[test]
fn a_file_of_numpy_is_read() {
    let mut bytes = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }".to_vec();
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    bytes.extend((0..6).flat_map(|i| (i as f32).to_le_bytes()));
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "numpy.npy", &bytes);
    assert_eq!(all_rows(ArrayFile::npy(&path).unwrap()), Tensor::from_fn([3, 2], |i| i as f64));
    // version 2 has a longer length, and dictionaries may come in any order and quotes
    let text = b"{\"shape\":(3,2),'fortran_order':False,\"descr\":\"<f4\"}";
    let mut second = b"\x93NUMPY\x02\x00".to_vec();
    second.extend((text.len() as u32).to_le_bytes());
    second.extend(text);
    second.extend(&bytes[128..]);
    let path = written(folder.path(), "second.npy", &second);
    assert_eq!(all_rows(ArrayFile::npy(&path).unwrap()), Tensor::from_fn([3, 2], |i| i as f64));
}

#[test]
fn rows_come_in_the_order_asked_for_and_may_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..2000u16).flat_map(u16::to_le_bytes).collect();
    let path = written(folder.path(), "x.u16", &bytes);
    let file = ArrayFile::raw(&path, Dtype::U16, &[1000, 1, 2]).unwrap();
    let memory = Tensor::from_fn([1000, 1, 2], |i| i as f32);
    let data = Dataset::<f32>::new([("file", file.into()), ("memory", memory.into())]).unwrap();
    for rows in [vec![], vec![999], vec![5, 4, 3, 4, 4, 0, 999, 6, 7, 8], (0..1000).rev().collect()] {
        let batch = data.batch(&rows).unwrap();
        assert_eq!(batch[0], batch[1]);
        assert_eq!(&*batch[0].shape(), &[rows.len(), 1, 2]);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(batch[0].at(&[i, 0, 1]), (2 * row + 1) as f32);
        }
    }
}

fn loader(rows: usize, config: LoaderConfig) -> DataLoader<f64> {
    let x = Tensor::from_fn([rows, 2], |i| (i / 2) as f64);
    let y = Tensor::from_fn([rows], |i| 10.0 * i as f64);
    DataLoader::new(Dataset::new([("x", x.into()), ("y", y.into())]).unwrap(), config).unwrap()
}

fn orders(loader: &DataLoader<f64>, epoch: usize) -> Vec<Vec<usize>> {
    loader.epoch(epoch).map(|batch| batch.unwrap().rows).collect()
}

#[test]
fn every_epoch_gives_each_row_once_with_its_values() {
    let config = LoaderConfig { batch_size: 4, ..LoaderConfig::default() };
    let loader = loader(11, config);
    assert_eq!(loader.batches(), 3);
    let mut seen = Vec::new();
    for batch in loader.epoch(0) {
        let batch = batch.unwrap();
        for (i, &row) in batch.rows.iter().enumerate() {
            assert_eq!(batch.arrays[0].at(&[i, 1]), row as f64);
            assert_eq!(batch.arrays[1].at(&[i]), 10.0 * row as f64);
        }
        seen.extend(batch.rows);
    }
    assert_ne!(seen, (0..11).collect::<Vec<_>>());
    seen.sort_unstable();
    assert_eq!(seen, (0..11).collect::<Vec<_>>());
}

#[test]
fn the_order_depends_on_seed_and_epoch_alone() {
    let config = LoaderConfig { batch_size: 8, ..LoaderConfig::default() };
    let first = orders(&loader(50, config), 3);
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for prefetch in [1, 5] {
            let again = loader(50, LoaderConfig { prefetch, ..config });
            assert_eq!(pool.install(|| orders(&again, 3)), first);
        }
    }
    assert_ne!(orders(&loader(50, config), 4), first);
    assert_ne!(orders(&loader(50, LoaderConfig { seed: 1, ..config }), 3), first);
    let plain = LoaderConfig { shuffle: false, batch_size: 20, ..config };
    assert_eq!(orders(&loader(50, plain), 7).concat(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_short_last_batch_is_dropped_when_asked() {
    let config = LoaderConfig { batch_size: 4, drop_last: true, ..LoaderConfig::default() };
    for (rows, sizes) in [(11, vec![4, 4]), (8, vec![4, 4]), (3, vec![]), (0, vec![])] {
        let loader = loader(rows, config);
        let found: Vec<usize> = orders(&loader, 0).iter().map(Vec::len).collect();
        assert_eq!((found, loader.batches()), (sizes.clone(), sizes.len()));
    }
    assert_eq!(orders(&loader(3, LoaderConfig { drop_last: false, ..config }), 0)[0].len(), 3);
}

#[test]
fn an_epoch_may_be_left_early() {
    let loader = loader(1000, LoaderConfig { batch_size: 1, prefetch: 3, ..LoaderConfig::default() });
    for _ in 0..20 {
        assert_eq!(loader.epoch(0).take(2).count(), 2);
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_with_its_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "x.u8", &[7; 100]);
    let file = ArrayFile::raw(&path, Dtype::U8, &[10, 10]).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(35).unwrap();
    let data = Dataset::<f32>::new([("x", file.into())]).unwrap();
    let config = LoaderConfig { batch_size: 2, shuffle: false, ..LoaderConfig::default() };
    let items: Vec<_> = DataLoader::new(data, config).unwrap().epoch(0).collect();
    assert_eq!(items.len(), 2);
    assert!(items[0].is_ok());
    let error = items[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("x.u8: byte 20: 20 bytes of row 2 cannot be read"), "{error}");
}

#[test]
fn malformed_headers_are_refused_with_byte_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let good = npy(&header("<f4", "(2, 2)"), &[0; 16]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let headed = |text: &str| npy(text, &[0; 16]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "byte 0: this is not a .npy file"),
        (b"PK\x03\x04 an archive of arrays".to_vec(), "byte 0: this is not a .npy file"),
        (with(6, 4), "field 'version': 4.0"),
        (good[..9].to_vec(), "ends within its header"),
        (good[..40].to_vec(), "ends within its header"),
        (with(9, 255), "field 'header length'"),
        (good[..good.len() - 1].to_vec(), "takes 16 bytes, but 15 follow"),
        ([good.clone(), vec![0]].concat(), "takes 16 bytes, but 17 follow"),
        (headed("not a dictionary"), "byte 10, field 'header': expected '{'"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)"), "field 'header': expected '}'"),
        (headed("{'descr': '<f4', 'fortran_order': False}"), "field 'shape': it is missing"),
        (headed("{'descr': '<f4', 'shape': (4,)}"), "field 'fortran_order': it is missing"),
        (headed("{'fortran_order': False, 'shape': (4,)}"), "field 'descr': it is missing"),
        (headed("{'descr': '<f4', 'descr': '<f4'}"), "the key 'descr' stands there twice"),
        (headed("{'colour': 1}"), "the key 'colour' is not known"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)} more"), "text after its end"),
        (headed("{'descr': <f4}"), "field 'descr': expected a quoted text"),
        (headed("{'descr': '<f4"), "field 'descr': expected a quoted text"),
        (headed("{'descr': [('a', '<f4')]}"), "field 'descr': the array has named columns"),
        (headed(&header(">f4", "(4,)")), "field 'descr': '>f4' is big-endian; save array.astype('<f4')"),
        (headed(&header("<U4", "(4,)")), "field 'descr': '<U4' is no type of number"),
        (headed(&header("<c8", "(2,)")), "field 'descr': '<c8' is no type of number"),
        (headed("{'descr': '<f4', 'fortran_order': 0}"), "field 'fortran_order': expected True or False"),
        (headed("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}"), "numpy.ascontiguousarray"),
        (headed(&header("<f4", "(-4,)")), "field 'shape': expected a number"),
        (headed(&header("<f4", "(2 2)")), "field 'shape': expected ')'"),
        (headed(&header("<f4", "(99999999999999999999999,)")), "field 'shape': expected a number"),
        (headed(&header("<f4", "(4294967296, 4294967296)")), "larger than any memory"),
        (headed(&header("<f4", "()")), "has 0 axes"),
        (headed(&header("<f4", "(1, 1, 1, 1, 1, 1, 1, 4)")), "has 8 axes"),
    ];
    for (i, (bytes, expected)) in cases.into_iter().enumerate() {
        let path = written(folder.path(), &format!("case{i}.npy"), &bytes);
        let error = ArrayFile::npy(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&format!("case{i}.npy")), "{error} has no '{expected}'");
    }
    let error = ArrayFile::npy(folder.path().join("missing.npy")).unwrap_err().to_string();
    assert!(error.contains("missing.npy: cannot be read"), "{error}");
    assert!(ArrayFile::npy(folder.path()).is_err());
}

/// No truncation and no changed byte makes it panic.
#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let good = npy(&header("<f4", "(2, 2)"), &[0; 16]);
    let path = folder.path().join("x.npy");
    for length in 0..good.len() {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(ArrayFile::npy(&path).is_err());
    }
    for at in 0..80 {
        for byte in [0, b'(', b'\'', b'9', 255] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(file) = ArrayFile::npy(&path) {
                assert!(file.shape().len() * file.dtype().size() <= 16 + 64);
            }
        }
    }
}

#[test]
fn arrays_that_do_not_belong_together_are_named() {
    let array = |rows: usize| -> Array<f32> { Tensor::zeros([rows, 2]).into() };
    let error = Dataset::new([("x", array(3)), ("y", array(4))]).unwrap_err().to_string();
    assert!(error.contains("y: has 4 rows, but x has 3"), "{error}");
    assert!(Dataset::<f32>::new([]).is_err());
    assert!(Dataset::new([("x", Tensor::scalar(1.0f32).into())]).is_err());
    let data = Dataset::new([("x", array(3))]).unwrap();
    let error = |config| DataLoader::new(data.clone(), config).unwrap_err().to_string();
    assert!(error(LoaderConfig { batch_size: 0, ..LoaderConfig::default() }).contains("'batch_size'"));
    assert!(error(LoaderConfig { prefetch: 0, ..LoaderConfig::default() }).contains("'prefetch'"));
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "x.f32", &[0; 12]);
    let error = ArrayFile::raw(&path, Dtype::F32, &[2, 2]).unwrap_err().to_string();
    assert!(error.contains("takes 16 bytes, but 12 follow byte 0"), "{error}");
}

#[test]
#[should_panic(expected = "data set: row 3 of 3")]
fn a_row_that_does_not_exist_panics() {
    let data = Dataset::<f32>::new([("x", Tensor::zeros([3, 2]).into())]).unwrap();
    drop(data.batch(&[0, 3]));
}
