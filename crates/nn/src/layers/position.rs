//! Where in a sequence a value stands: fixed sinusoidal and rotary positions.

use gradome_tape::{Float, Tape, Tensor, Var};

/// Wavelengths grow from 2 pi to 2 pi times this (Vaswani et al. 2017, section 3.5).
const LONGEST: f64 = 10_000.0;

/// The frequency, in radians a position, of pair `pair` of `width / 2`.
fn frequency(pair: usize, width: usize) -> f64 {
    LONGEST.powf(-2.0 * pair as f64 / width as f64)
}

/// Sinusoidal positions `[length, width]`: element 2 i is sin(position / 10000^(2 i / width)), element 2 i + 1 the
/// cosine (Vaswani et al. 2017, section 3.5). To be added to embeddings.
///
/// # Panics
/// When the width is odd.
pub fn sinusoidal_positions<T: Float>(tape: &Tape<T>, length: usize, width: usize) -> Var<'_, T> {
    assert!(width.is_multiple_of(2), "sinusoidal_positions: the width {width} is odd");
    tape.constant(&Tensor::from_fn([length, width], |i| {
        let (position, element) = (i / width, i % width);
        let angle = position as f64 * frequency(element / 2, width);
        T::of(if element % 2 == 0 { angle.sin() } else { angle.cos() })
    }))
}

/// Rotary positions: turns each pair of elements of queries or keys `[.., length, width]` by an angle that grows with
/// the position, so that their products depend on distances alone (Su et al. 2021, eq. 34).
///
/// Pair i is elements i and i + width / 2, as in GPT-NeoX and Llama.
///
/// # Panics
/// When there is no length axis or the width is odd.
pub fn rotary<T: Float>(x: Var<'_, T>) -> Var<'_, T> {
    let shape = x.shape();
    assert!(
        shape.rank() >= 2 && shape.last_size().is_multiple_of(2),
        "rotary: {shape}: expected [.., length, width] with an even width"
    );
    let (length, width) = (shape[shape.rank() - 2], shape.last_size());
    let half = width / 2;
    let angles = |of: fn(f64) -> f64| {
        x.tape()
            .constant(&Tensor::from_fn([length, half], |i| T::of(of((i / half) as f64 * frequency(i % half, width)))))
    };
    let (cos, sin) = (angles(f64::cos), angles(f64::sin));
    let (a, b) = (x.narrow(-1, 0, half), x.narrow(-1, half, half));
    x.tape().concat(&[a * cos - b * sin, a * sin + b * cos], -1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_rotated_rows_depend_on_distance_alone() {
        let tape = Tape::<f64>::new();
        // the same query and the same key at every position
        let repeat = |phase: f64| tape.constant(&Tensor::from_fn([9, 6], |i| ((i % 6) as f64 + phase).sin()));
        let products = rotary(repeat(0.1)).matmul_transposed(rotary(repeat(0.8))).value();
        for i in 1..9 {
            for j in 1..9 {
                assert!((products.at(&[i, j]) - products.at(&[i - 1, j - 1])).abs() < 1e-12);
            }
        }
        assert!((products.at(&[0, 0]) - products.at(&[3, 0])).abs() > 1e-3);
    }

    #[test]
    fn sinusoids_follow_the_formula() {
        let tape = Tape::<f64>::new();
        let table = sinusoidal_positions(&tape, 4, 6).value();
        for position in 0..4 {
            for pair in 0..3 {
                let angle = position as f64 / 10_000f64.powf(2.0 * pair as f64 / 6.0);
                assert!((table.at(&[position, 2 * pair]) - angle.sin()).abs() < 1e-15);
                assert!((table.at(&[position, 2 * pair + 1]) - angle.cos()).abs() < 1e-15);
            }
        }
    }
}
