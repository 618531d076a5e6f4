//! Numbers as `%g` prints them.

/// A number with so many significant digits at most, as C's `%.{digits}g`: the form that MACS writes.
///
/// ```
/// use gradome_io::genome::general;
///
/// assert_eq!(general(13.21580001, 6), "13.2158");
/// assert_eq!(general(1.0, 6), "1");
/// assert_eq!(general(1234567.0, 6), "1.23457e+06");
/// ```
///
/// # Panics
/// If `digits` is zero.
pub fn general(value: f64, digits: usize) -> String {
    assert!(digits > 0, "general: at least one digit");
    if !value.is_finite() {
        return if value.is_nan() { "nan".into() } else { format!("{value}") };
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    let trimmed = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    };
    // The rule of C99 7.19.6.1: fixed point from 1e-4 up to as many digits as there are.
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs());
    }
    let decimals = (digits as i32 - 1 - exponent) as usize;
    trimmed(&format!("{value:.decimals$}"))
}
