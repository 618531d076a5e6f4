//! Elementwise formulas: written once in a table, compiled for every precision and instruction set.

use crate::float::Float;
use crate::kernels::simd_kernel;
use crate::lane::Lane;
use crate::registry::{Gradient, Listed, Row};

/// The most operands an elementwise op has.
pub const MAX_OPERANDS: usize = 3;
/// The most constant parameters an elementwise op has.
pub const MAX_PARAMETERS: usize = 2;

/// One entry of an `elementwise!` table: a value and its partial derivatives.
pub trait Formula: 'static {
    /// The table it stands in; only tables in the crate's `registry!` list can be used.
    type Table: Listed;
    /// The name of its method on [`Var`](crate::Var).
    const NAME: &'static str;
    /// How many operands it takes.
    const OPERANDS: usize;
    /// Whether its slopes are those of its value or of its reference.
    const GRADIENT: Gradient;
    /// Whether its slopes are written in terms of its value.
    const USES_VALUE: bool;
    /// y from the operands `x` and the parameters `p`.
    fn value<L: Lane>(x: [L; MAX_OPERANDS], p: [L; MAX_PARAMETERS]) -> L;
    /// What the slopes are the derivatives of: the value, or what a surrogate names.
    fn reference<L: Lane>(x: [L; MAX_OPERANDS], p: [L; MAX_PARAMETERS]) -> L;
    /// dy/dx for each operand, given also the value y, which is anything unless the formula uses it.
    fn slope<L: Lane>(x: [L; MAX_OPERANDS], p: [L; MAX_PARAMETERS], y: L) -> [L; MAX_OPERANDS];
}

type ForwardFn<T> = fn(&[&[T]; MAX_OPERANDS], &[T; MAX_PARAMETERS], &mut [T]);
type BackwardFn<T> = fn(&[&[T]; MAX_OPERANDS], &[T; MAX_PARAMETERS], &[T], &[T], &mut [T]);

/// A formula compiled for one precision: what a tape records.
pub struct ElementwiseOp<T: Float> {
    pub(crate) name: &'static str,
    pub(crate) operands: usize,
    /// Whether `backward` reads y.
    pub(crate) uses_value: bool,
    /// Writes y.
    pub(crate) forward: ForwardFn<T>,
    /// For each operand: adds g dy/dx to its adjoint.
    pub(crate) backward: [BackwardFn<T>; MAX_OPERANDS],
}

/// Gives a formula its compiled form.
pub(crate) trait Compiled<T: Float> {
    const OP: ElementwiseOp<T>;
}

impl<T: Float, F: Formula> Compiled<T> for F {
    const OP: ElementwiseOp<T> = ElementwiseOp {
        name: F::NAME,
        operands: F::OPERANDS,
        uses_value: F::USES_VALUE,
        forward: forward::<T, F>,
        backward: [backward::<T, F, First>, backward::<T, F, Second>, backward::<T, F, Third>],
    };
}

trait Operand {
    const INDEX: usize;
}
struct First;
struct Second;
struct Third;
impl Operand for First {
    const INDEX: usize = 0;
}
impl Operand for Second {
    const INDEX: usize = 1;
}
impl Operand for Third {
    const INDEX: usize = 2;
}

/// The operands at one position; the slices of absent operands are empty.
#[inline(always)]
fn operands<L: Lane, F: Formula>(x: &[&[L::Scalar]; MAX_OPERANDS], at: usize) -> [L; MAX_OPERANDS] {
    let operand = |i: usize| if i < F::OPERANDS { L::new(x[i][at]) } else { L::of(0.0) };
    [operand(0), operand(1), operand(2)]
}

/// The operand slices cut to one length, so that the loops below need no bounds checks. They count positions rather than
/// walk `out`: two ends of one loop would leave the compiler a last vector to do one number at a time.
#[inline(always)]
fn cut<'a, T, F: Formula>(x: &[&'a [T]; MAX_OPERANDS], len: usize) -> [&'a [T]; MAX_OPERANDS] {
    let slice = |i: usize| if i < F::OPERANDS { &x[i][..len] } else { &[][..] };
    [slice(0), slice(1), slice(2)]
}

simd_kernel! {
    fn forward [T, L, F: Formula](x: &[&[T]; MAX_OPERANDS], p: &[T; MAX_PARAMETERS], out: &mut [T]) {
        let x = cut::<T, F>(x, out.len());
        let p = [L::new(p[0]), L::new(p[1])];
        #[allow(clippy::needless_range_loop)]
        for i in 0..out.len() {
            out[i] = F::value::<L>(operands::<L, F>(&x, i), p).get();
        }
    }
}

simd_kernel! {
    fn backward [T, L, F: Formula, W: Operand](
        x: &[&[T]; MAX_OPERANDS], p: &[T; MAX_PARAMETERS], y: &[T], g: &[T], out: &mut [T],
    ) {
        let x = cut::<T, F>(x, out.len());
        let (y, g) = (&y[..out.len()], &g[..out.len()]);
        let p = [L::new(p[0]), L::new(p[1])];
        #[allow(clippy::needless_range_loop)]
        for i in 0..out.len() {
            let slope = F::slope::<L>(operands::<L, F>(&x, i), p, L::new(y[i]))[W::INDEX];
            out[i] = L::new(g[i]).mul_add(slope, L::new(out[i])).get();
        }
    }
}

/// What the registry keeps of a formula: both precisions, and where to try it.
pub struct ElementwiseRow {
    pub(crate) single: &'static ElementwiseOp<f32>,
    pub(crate) double: &'static ElementwiseOp<f64>,
    /// For each operand the range in which samples are drawn.
    pub(crate) ranges: &'static [std::ops::Range<f64>],
    pub(crate) parameters: [f64; MAX_PARAMETERS],
    pub(crate) dual: fn([f64; MAX_OPERANDS], [f64; MAX_PARAMETERS], usize) -> (f64, f64),
    /// The value of one number in f32, without and with fused multiply-add.
    pub(crate) one_by_one: [OneByOne; 2],
}

type OneByOne = fn([f32; MAX_OPERANDS], [f32; MAX_PARAMETERS]) -> f32;

impl ElementwiseRow {
    pub(crate) fn of<F: Formula>(
        doc: &'static str,
        ranges: &'static [std::ops::Range<f64>],
        parameters: [f64; MAX_PARAMETERS],
    ) -> Row {
        Row::elementwise(
            F::NAME,
            doc,
            F::GRADIENT,
            Self {
                single: &<F as Compiled<f32>>::OP,
                double: &<F as Compiled<f64>>::OP,
                ranges,
                parameters,
                dual: dual_and_slope::<F>,
                one_by_one: [one::<F, f32>, one::<F, crate::lane::Fused<f32>>],
            },
        )
    }
}

fn one<F: Formula, L: Lane<Scalar = f32>>(x: [f32; MAX_OPERANDS], p: [f32; MAX_PARAMETERS]) -> f32 {
    F::value::<L>(x.map(L::new), p.map(L::new)).get()
}

/// The derivative with respect to one operand, by dual numbers of the reference and by the formula's own slope.
fn dual_and_slope<F: Formula>(x: [f64; MAX_OPERANDS], p: [f64; MAX_PARAMETERS], which: usize) -> (f64, f64) {
    use crate::lane::Dual;
    let mut duals = x.map(Dual::of);
    duals[which].slope = 1.0;
    let reference = F::reference::<Dual>(duals, p.map(Dual::of));
    (reference.slope, F::slope::<f64>(x, p, F::value::<f64>(x, p))[which])
}

/// Defines elementwise ops: each entry holds an op's doc, operands with the range where it is tried, value and slopes.
///
/// `L` is the lane type; `-> y` names the value for slopes that are written in terms of it. Constant parameters follow a semicolon with the value
/// that the checks use (`n: i32 = 5` for one that is no `f64`). See `ops/arithmetic.rs` for examples. An entry whose slopes are not those of its value (a
/// straight-through estimator) ends with `surrogate: "what it stands for" => expression`, of which they are the
/// derivatives; see `ops/relaxation.rs`.
macro_rules! elementwise {
    ($(
        $(#[doc = $doc:literal])+
        fn $name:ident($($x:ident in $range:expr),+ $(; $($p:ident $(: $type:ty)? = $sample:expr),+)?) $(-> $y:ident)? {
            value: $value:expr,
            slope: [$($slope:expr),+ $(,)?] $(,)?
            $(surrogate: $stands_for:literal => $reference:expr $(,)?)?
        }
    )+) => {
        /// Stands for this file's table in the registry.
        pub struct Table;

        $(
            #[allow(non_camel_case_types)]
            #[doc = concat!("The formula of [`Var::", stringify!($name), "`](crate::Var::", stringify!($name), ").")]
            pub struct $name;

            impl $crate::elementwise::Formula for $name {
                type Table = Table;
                const NAME: &'static str = stringify!($name);
                const OPERANDS: usize = [$(stringify!($x)),+].len();
                const GRADIENT: $crate::registry::Gradient = $crate::elementwise::gradient(&[$($stands_for)?]);
                const USES_VALUE: bool = $crate::elementwise::is_named(&[$(stringify!($y))?]);
                #[inline(always)]
                #[allow(unused_variables)]
                fn value<L: $crate::lane::Lane>(
                    x: [L; $crate::elementwise::MAX_OPERANDS],
                    p: [L; $crate::elementwise::MAX_PARAMETERS],
                ) -> L {
                    let [$($x,)+ ..] = x;
                    $(let [$($p,)+ ..] = p;)?
                    $value
                }
                #[allow(unused_variables)]
                fn reference<L: $crate::lane::Lane>(
                    x: [L; $crate::elementwise::MAX_OPERANDS],
                    p: [L; $crate::elementwise::MAX_PARAMETERS],
                ) -> L {
                    let value = Self::value(x, p);
                    let [$($x,)+ ..] = x;
                    $(let [$($p,)+ ..] = p;)?
                    $(let value = $reference;)?
                    value
                }
                #[inline(always)]
                #[allow(unused_variables)]
                fn slope<L: $crate::lane::Lane>(
                    x: [L; $crate::elementwise::MAX_OPERANDS],
                    p: [L; $crate::elementwise::MAX_PARAMETERS],
                    value: L,
                ) -> [L; $crate::elementwise::MAX_OPERANDS] {
                    $(let $y = value;)?
                    let [$($x,)+ ..] = x;
                    $(let [$($p,)+ ..] = p;)?
                    let slopes = [$($slope),+];
                    std::array::from_fn(|i| if i < slopes.len() { slopes[i] } else { L::of(0.0) })
                }
            }
        )+

        impl<'t, T: $crate::float::Float> $crate::var::Var<'t, T> {
            $($crate::elementwise::method! { [$($doc)+] $name [$($x)+] [$($([$p $($type)?])+)?] })+
        }

        pub(crate) fn rows() -> Vec<$crate::registry::Row> {
            vec![$($crate::elementwise::ElementwiseRow::of::<$name>(
                concat!($($doc, "\n"),+),
                &[$($range),+],
                $crate::elementwise::parameters(&[$($(f64::from($sample)),+)?]),
            )),+]
        }
    };
}
pub(crate) use elementwise;

/// The method of one op: the first operand is `self`.
macro_rules! method {
    ([$($doc:literal)+] $name:ident [$x:ident $($rest:ident)*] [$([$p:ident $($type:ty)?])*]) => {
        $(#[doc = $doc])+
        pub fn $name(self $(, $rest: Self)* $(, $p: $crate::elementwise::parameter_type!($($type)?))*) -> Self {
            self.elementwise::<$name>(&[self $(, $rest)*], $crate::elementwise::parameters(&[$(f64::from($p)),*]))
        }
    };
}
pub(crate) use method;

/// The type of a parameter: `f64` unless its entry says otherwise.
macro_rules! parameter_type {
    () => {
        f64
    };
    ($type:ty) => {
        $type
    };
}
pub(crate) use parameter_type;

/// Surrogate when an entry names what it stands for.
pub(crate) const fn gradient(stands_for: &[&'static str]) -> Gradient {
    match stands_for {
        [name, ..] => Gradient::Surrogate(name),
        [] => Gradient::Exact,
    }
}

/// Whether an entry names its value.
pub(crate) const fn is_named(names: &[&'static str]) -> bool {
    !names.is_empty()
}

/// The given constants, padded with zeros.
pub(crate) fn parameters(given: &[f64]) -> [f64; MAX_PARAMETERS] {
    let mut all = [0.0; MAX_PARAMETERS];
    all[..given.len()].copy_from_slice(given);
    all
}
