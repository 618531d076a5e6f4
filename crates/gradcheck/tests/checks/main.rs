//! Right gradients pass, wrong ones fail and are named, and odd cases end in clear words.

mod edges;
mod functions;
mod right;
mod wrong;
