//! Stacked recurrent layers give PyTorch's numbers under PyTorch's parameter names.

use gradome_nn::{Gru, Lstm, ParamStore, RecurrentSize, Scope, Step};
use gradome_tape::{Tape, Tensor};

// What PyTorch 2.15 gives in f64 for nn.LSTM(2, 2, 2, batch_first=True, bidirectional=True) and nn.GRU(..) on a packed
// batch of lengths 3 and 2; the gradients are those of the sum of squares of all h plus the sum of cubes of the last
// states. Parameter number k, in PyTorch's order, is sin(7 i + j + k) / 2 in row i and column j (biases have j = 0); x is
// cos(1.3 index) of shape [2, 3, 2].
const LSTM: &[(&str, &[f64])] = &[
    (
        "every h",
        &[
            0.119757415592433,
            0.10947725483385,
            -0.329690944124359,
            -0.17768693462836,
            0.158614618656652,
            0.171118479582593,
            -0.304165787738687,
            -0.19715669107888,
            0.18132573387058,
            0.192807660444523,
            -0.260628824618927,
            -0.202784289153311,
            0.109340509114595,
            0.111872360013707,
            -0.287349942578819,
            -0.193451714621063,
            0.163959939523874,
            0.166281877440057,
            -0.249461526687106,
            -0.201857645026986,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
    ),
    (
        "a last state",
        &[
            -0.270354836507739,
            -0.203333600098345,
            -0.32119016240365,
            -0.101480909690976,
            0.029099162289815,
            -0.133656254037089,
            -0.053041601357059,
            -0.232446038762632,
            0.18132573387058,
            0.192807660444523,
            0.163959939523874,
            0.166281877440057,
            -0.329690944124359,
            -0.17768693462836,
            -0.287349942578819,
            -0.193451714621063,
        ],
    ),
    (
        "a last state",
        &[
            -0.644169156990977,
            -0.335682605914056,
            -0.577158715113557,
            -0.137758245914213,
            0.069541877215912,
            -0.379884742704682,
            -0.180261607887581,
            -0.687946078506183,
            0.265944098372507,
            0.372941165616032,
            0.243213697586424,
            0.31862356908746,
            -0.671867561617938,
            -0.270549721905419,
            -0.615685669044331,
            -0.31595942725168,
        ],
    ),
    (
        "gradient of x",
        &[
            0.115526231218249,
            0.070113272351545,
            0.042612963538443,
            -0.047829046863415,
            0.020294700324778,
            -0.326833676626141,
            0.40838457174276,
            0.197375573452816,
            0.270701926112343,
            -0.027014568067068,
            0.0,
            0.0,
        ],
    ),
    (
        "gradient of weight_hh_l0",
        &[
            0.071338325761387,
            -0.019790297351072,
            0.016171254853723,
            -0.001154420055397,
            0.029728030283077,
            -0.005867409317611,
            -0.003135472487003,
            -0.000891228769735,
            -0.160212720541001,
            0.028870888860795,
            -0.034965564492286,
            0.01894343027809,
            0.0056576551232,
            -0.007155052962246,
            0.00325085083741,
            0.00010274141544,
        ],
    ),
    (
        "gradient of bias_hh_l0_reverse",
        &[
            -0.005319374575945,
            -0.313748422423913,
            0.002254442800871,
            -0.18218114691364,
            -0.050992144780282,
            1.286006604275043,
            0.013964394331518,
            0.012392839687717,
        ],
    ),
];
const GRU: &[(&str, &[f64])] = &[
    (
        "every h",
        &[
            0.297123224354199,
            0.273639177782965,
            -0.603702632629828,
            -0.354307684740481,
            0.277885189326807,
            0.425086630568234,
            -0.544012484336248,
            -0.398206094834446,
            0.50051470993472,
            0.555677217301166,
            -0.502029307521252,
            -0.37942526891325,
            0.122429389985542,
            0.222369463295068,
            -0.466430532056535,
            -0.346159796046928,
            0.382260238519713,
            0.409255795362289,
            -0.452705385514629,
            -0.341003526525416,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
    ),
    (
        "a last state",
        &[
            -0.53203364330235,
            -0.380459244360724,
            -0.559398415880899,
            -0.272542046776695,
            0.249716461811695,
            -0.057491318730639,
            -0.051423764433889,
            -0.33464719279821,
            0.50051470993472,
            0.555677217301166,
            0.382260238519713,
            0.409255795362289,
            -0.603702632629828,
            -0.354307684740481,
            -0.466430532056535,
            -0.346159796046928,
        ],
    ),
    (
        "gradient of x",
        &[
            0.090668791936529,
            0.101357060473671,
            -0.010526909224922,
            0.441099849447881,
            0.449621173479315,
            0.219104860724565,
            0.092752490347221,
            0.271374002422197,
            0.246292943699828,
            0.156235162887973,
            0.0,
            0.0,
        ],
    ),
    (
        "gradient of weight_hh_l0",
        &[
            0.003037678117827,
            0.001206805495449,
            -0.005968448412408,
            0.001261904668086,
            -0.008791275683744,
            0.010073595046114,
            -0.024235406435527,
            0.017617528179979,
            0.053386365081496,
            0.104219670171959,
            -0.052112244209036,
            0.021637170598119,
        ],
    ),
    (
        "gradient of bias_hh_l0_reverse",
        &[
            -0.051700718035224,
            -0.118424189328114,
            -0.229334028486619,
            0.276222967627337,
            0.586556981174522,
            0.773459882830921,
        ],
    ),
];

enum Layer {
    Lstm(Lstm),
    Gru(Gru),
}

fn size() -> RecurrentSize {
    RecurrentSize { layers: 2, bidirectional: true, ..RecurrentSize::new(2, 2) }
}

fn assert_pytorch(expected: &[(&str, &[f64])], build: fn(&mut Scope<'_, f64>) -> Layer) {
    let mut store = ParamStore::<f64>::new(0);
    let layer = build(&mut store.scope(""));
    let ids: Vec<_> = store.entries().map(|(id, _)| id).collect();
    for (k, &id) in ids.iter().enumerate() {
        let shape = store.get(id).shape();
        let columns = if shape.rank() == 2 { shape[1] } else { 1 };
        let value = |i: usize| 0.5 * ((i / columns * 7 + i % columns + k) as f64).sin();
        store.set(id, Tensor::from_fn(shape, value));
    }
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let x = tape.variable(&Tensor::from_fn([2, 3, 2], |i| (1.3 * i as f64).cos()));
    let step = Step::eval(&tape, &bound);
    let out = match layer {
        Layer::Lstm(layer) => layer.forward(step, x, None, Some(&[3, 2])).to_vec(),
        Layer::Gru(layer) => layer.forward(step, x, None, Some(&[3, 2])).to_vec(),
    };
    let loss = out[1..].iter().fold(out[0].square().sum(), |sum, last| sum + (last.square() * *last).sum());
    let gradients = loss.backward();
    let mut found: Vec<Vec<f64>> = out.iter().map(|y| y.value().to_f64()).collect();
    found.push(gradients.of(x).unwrap().to_f64());
    for path in ["weight_hh_l0", "bias_hh_l0_reverse"] {
        found.push(gradients.get(store.find(path).unwrap().key()).unwrap().to_f64());
    }
    assert_eq!(found.len(), expected.len());
    for (found, (name, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{name}");
        for (i, (f, e)) in found.iter().zip(*expected).enumerate() {
            assert!((f - e).abs() < 1e-12, "{name}, element {i} is {f}, PyTorch {e}");
        }
    }
}

#[test]
fn lstm_layers_give_pytorchs_numbers() {
    assert_pytorch(LSTM, |scope| Layer::Lstm(Lstm::new(scope, size())));
}

#[test]
fn gru_layers_give_pytorchs_numbers() {
    assert_pytorch(GRU, |scope| Layer::Gru(Gru::new(scope, size())));
}
