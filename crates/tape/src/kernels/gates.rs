//! The gate nonlinearities of recurrent cells, one sequence of a batch at a time.

use crate::kernels::simd_kernel;

simd_kernel! {
    /// out = sigmoid(a + b)
    fn sigmoid_of_sum [T, L](a: &[T], b: &[T], out: &mut [T]) {
        for ((a, b), out) in a.iter().zip(b).zip(out) {
            *out = (L::new(*a) + L::new(*b)).sigmoid().get();
        }
    }
}

simd_kernel! {
    /// out = tanh(a + b)
    fn tanh_of_sum [T, L](a: &[T], b: &[T], out: &mut [T]) {
        for ((a, b), out) in a.iter().zip(b).zip(out) {
            *out = (L::new(*a) + L::new(*b)).tanh().get();
        }
    }
}

simd_kernel! {
    /// LSTM: gates i, f, g, o from their two halves; then c' = f c + i g and h' = o tanh(c').
    pub(crate) fn lstm_step [T, L](
        input: &[T], hidden: &[T], cell: &[T], gates: &mut [T], hidden_after: &mut [T], cell_after: &mut [T],
    ) {
        let n = cell.len();
        sigmoid_of_sum(&input[..2 * n], &hidden[..2 * n], &mut gates[..2 * n]);
        tanh_of_sum(&input[2 * n..3 * n], &hidden[2 * n..3 * n], &mut gates[2 * n..3 * n]);
        sigmoid_of_sum(&input[3 * n..4 * n], &hidden[3 * n..4 * n], &mut gates[3 * n..4 * n]);
        let (i, f, g, o) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n], &gates[3 * n..4 * n]);
        let (hidden_after, cell_after) = (&mut hidden_after[..n], &mut cell_after[..n]);
        for k in 0..n {
            let c = L::new(f[k]).mul_add(L::new(cell[k]), L::new(i[k]) * L::new(g[k]));
            cell_after[k] = c.get();
            hidden_after[k] = (L::new(o[k]) * c.tanh()).get();
        }
    }
}

simd_kernel! {
    /// LSTM backward: gradients of the gates' arguments from those of h' and c'; `d_cell` becomes that of c.
    pub(crate) fn lstm_back [T, L](
        gates: &[T], cell: &[T], cell_after: &[T], d_hidden: &[T], d_cell: &mut [T], d_gates: &mut [T],
    ) {
        let n = cell.len();
        let (i, f, g, o) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n], &gates[3 * n..4 * n]);
        let (d_i, d_rest) = d_gates.split_at_mut(n);
        let (d_f, d_rest) = d_rest.split_at_mut(n);
        let (d_g, d_o) = d_rest.split_at_mut(n);
        let (cell_after, d_hidden) = (&cell_after[..n], &d_hidden[..n]);
        let (d_cell, d_o) = (&mut d_cell[..n], &mut d_o[..n]);
        let one = L::of(1.0);
        for k in 0..n {
            let (dh, o, t) = (L::new(d_hidden[k]), L::new(o[k]), L::new(cell_after[k]).tanh());
            d_o[k] = (dh * t * o * (one - o)).get();
            d_cell[k] = (dh * o).mul_add(one - t * t, L::new(d_cell[k])).get();
        }
        for k in 0..n {
            let (dc, i, g) = (L::new(d_cell[k]), L::new(i[k]), L::new(g[k]));
            d_i[k] = (dc * g * i * (one - i)).get();
            d_g[k] = (dc * i * (one - g * g)).get();
        }
        for k in 0..n {
            let (dc, f) = (L::new(d_cell[k]), L::new(f[k]));
            d_f[k] = (dc * L::new(cell[k]) * f * (one - f)).get();
            d_cell[k] = (dc * f).get();
        }
    }
}

simd_kernel! {
    /// GRU: gates r, z, n from their two halves, and q, the hidden half of n; then h' = (1 - z) n + z h.
    pub(crate) fn gru_step [T, L](input: &[T], hidden: &[T], before: &[T], gates: &mut [T], after: &mut [T]) {
        let n = before.len();
        sigmoid_of_sum(&input[..2 * n], &hidden[..2 * n], &mut gates[..2 * n]);
        gates[3 * n..4 * n].copy_from_slice(&hidden[2 * n..3 * n]);
        let (input, hidden, after) = (&input[2 * n..3 * n], &hidden[2 * n..3 * n], &mut after[..n]);
        let (reset, rest) = gates.split_at_mut(n);
        let (update, candidate) = rest.split_at_mut(n);
        let candidate = &mut candidate[..n];
        for k in 0..n {
            candidate[k] = L::new(reset[k]).mul_add(L::new(hidden[k]), L::new(input[k])).tanh().get();
        }
        for k in 0..n {
            let (z, c) = (L::new(update[k]), L::new(candidate[k]));
            after[k] = z.mul_add(L::new(before[k]) - c, c).get();
        }
    }
}

simd_kernel! {
    /// GRU backward: gradients of the gates' arguments (their input half); `d_hidden` becomes the part of the gradient
    /// of h that does not pass through gates.
    pub(crate) fn gru_back [T, L](gates: &[T], before: &[T], d_hidden: &mut [T], d_gates: &mut [T]) {
        let n = before.len();
        let (r, z, c, q) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n], &gates[3 * n..4 * n]);
        let (d_r, d_rest) = d_gates.split_at_mut(n);
        let (d_z, d_c) = d_rest.split_at_mut(n);
        let (d_hidden, d_c) = (&mut d_hidden[..n], &mut d_c[..n]);
        let one = L::of(1.0);
        for k in 0..n {
            let (dh, z, c) = (L::new(d_hidden[k]), L::new(z[k]), L::new(c[k]));
            d_c[k] = (dh * (one - z) * (one - c * c)).get();
            d_z[k] = (dh * (L::new(before[k]) - c) * z * (one - z)).get();
            d_hidden[k] = (dh * z).get();
        }
        for k in 0..n {
            let r = L::new(r[k]);
            d_r[k] = (L::new(d_c[k]) * L::new(q[k]) * r * (one - r)).get();
        }
    }
}

simd_kernel! {
    /// Turns the input half of a GRU's gate gradients into the hidden half: n's passes through the reset gate.
    pub(crate) fn gru_hidden_half [T, L](gates: &[T], d_gates: &mut [T], n: usize) {
        for (d, r) in d_gates[2 * n..3 * n].iter_mut().zip(&gates[..n]) {
            *d = (L::new(*d) * L::new(*r)).get();
        }
    }
}
