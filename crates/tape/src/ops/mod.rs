//! The ops: tables of elementwise formulas, and one file for each coarse op.

pub(crate) mod activation;
pub(crate) mod arithmetic;
pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod counts;
pub(crate) mod crf;
pub(crate) mod extremum;
pub(crate) mod gather;
pub(crate) mod gumbel;
pub(crate) mod hmm;
pub(crate) mod layer_norm;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod log_sum_exp;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod quantile;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod relaxation;
pub(crate) mod scan;
pub(crate) mod softmax;
pub(crate) mod sort;
pub(crate) mod viterbi;
