//! Colours that colour-blind readers can tell apart, for light and dark pages.
//!
//! Categories start with the eight colours of Okabe and Ito (Color Universal Design, 2008; its
//! yellow darkened and its black made grey, so that both show on white and on black), then go on
//! with twelve of other lightness. Values use "magma" (van der Walt and Smith, matplotlib 2015),
//! which is even in lightness; it runs so that high values stand out from the background: light to
//! dark on a light page, dark to light on a dark one.

use std::fmt::Write;

/// Colours of categories; category i has colour i modulo 20.
pub const CATEGORIES: [&str; 20] = [
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#c4ae00", "#7f7f7f", "#8c5bb5", "#7a4b2a",
    "#44aa99", "#e78ac3", "#a6761d", "#8da0cb", "#b2182b", "#66a61e", "#1f3fae", "#f4a582", "#4d7c8a", "#a1005a",
];

/// Steps of the colour scale of values.
pub const STEPS: usize = 32;

/// Magma at even distances, without its two ends, which vanish on white and on black.
const MAGMA: [[u8; 3]; 9] = [
    [0xfe, 0xd3, 0x95],
    [0xfe, 0xb0, 0x78],
    [0xfb, 0x87, 0x61],
    [0xf1, 0x60, 0x5d],
    [0xd3, 0x43, 0x6e],
    [0xa8, 0x32, 0x7d],
    [0x7b, 0x23, 0x82],
    [0x50, 0x12, 0x7b],
    [0x22, 0x11, 0x50],
];

/// The step of the colour scale, from 0 to `STEPS - 1`, of a value between `low` and `high`.
pub(crate) fn step(value: f64, low: f64, high: f64) -> usize {
    if high <= low {
        return STEPS / 2;
    }
    let part = (value - low) / (high - low);
    ((part * STEPS as f64) as usize).min(STEPS - 1)
}

/// The style sheet of all figures: colours for light, dark and print, and text.
pub(crate) fn style_sheet() -> String {
    let mut css = String::from(
        ".gf{--ink:#1f2328;--soft:#57606a;--grid:#e6e9ed;--frame:#9aa4af;--panel:#fff;--na:#c9ced4;\
         font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif;font-size:12px}\
         .gf text{fill:var(--ink)}.gf .soft{fill:var(--soft)}.gf .strong{font-weight:600}\
         .gf .halo{paint-order:stroke;stroke:var(--panel);stroke-width:3px;stroke-linejoin:round}\
         .gf .grid{stroke:var(--grid);fill:none}.gf .frame{stroke:var(--frame);fill:none}\
         .gf .ref{stroke:var(--soft);fill:none;stroke-dasharray:5 4}\
         .gf .p circle{fill:var(--c);fill-opacity:.85}.gf .thin circle{fill-opacity:.4}\
         .gf .p circle:hover{stroke:var(--ink);stroke-width:1.5px}\
         .gf .a{fill:var(--c)}.gf .l{stroke:var(--c);fill:none;stroke-width:1.8px;stroke-linejoin:round}\
         .gf .area{fill:var(--c);fill-opacity:.22}.gf .na{--c:var(--na)}",
    );
    for (category, colour) in CATEGORIES.iter().enumerate() {
        let _ = write!(css, ".c{category}{{--c:{colour}}}");
    }
    css.push_str(&ramp(false));
    css.push_str(
        "@media screen and (prefers-color-scheme:dark){.gf{--ink:#e6edf3;--soft:#9da7b3;\
         --grid:#2b3139;--frame:#56606b;--panel:#14181d;--na:#3d444d}",
    );
    css.push_str(&ramp(true));
    css.push('}');
    css
}

/// One class per step of the scale, `v0` to `v31`.
fn ramp(dark: bool) -> String {
    (0..STEPS).fold(String::new(), |mut css, step| {
        let part = step as f64 / (STEPS - 1) as f64;
        let at = if dark { 1.0 - part } else { part } * (MAGMA.len() - 1) as f64;
        let below = (at as usize).min(MAGMA.len() - 2);
        let mix = |channel: usize| {
            let [from, to] = [MAGMA[below], MAGMA[below + 1]].map(|c| f64::from(c[channel]));
            (from + (to - from) * (at - below as f64)).round() as u8
        };
        let _ = write!(css, ".v{step}{{--c:#{:02x}{:02x}{:02x}}}", mix(0), mix(1), mix(2));
        css
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2 relative luminance of `#rrggbb`.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let c = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn categories_differ_and_show_on_white_and_on_the_dark_page() {
        let dark = luminance("#14181d");
        for (i, colour) in CATEGORIES.iter().enumerate() {
            assert!(CATEGORIES[..i].iter().all(|other| other != colour));
            let l = luminance(colour);
            assert!(1.05 / (l + 0.05) > 1.9, "{colour} is faint on white");
            assert!((l + 0.05) / (dark + 0.05) > 1.9, "{colour} is faint on the dark page");
        }
    }

    #[test]
    fn the_scale_is_even_in_lightness_and_turns_round_in_the_dark() {
        let colours = |dark| -> Vec<f64> {
            let css = ramp(dark);
            css.split("#").skip(1).map(|rest| luminance(&format!("#{}", &rest[..6]))).collect()
        };
        let (light, dark) = (colours(false), colours(true));
        assert_eq!(light.len(), STEPS);
        assert!(light.windows(2).all(|pair| pair[0] > pair[1]));
        assert!(dark.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn values_spread_over_all_steps() {
        assert_eq!(step(0.0, 0.0, 1.0), 0);
        assert_eq!(step(1.0, 0.0, 1.0), STEPS - 1);
        assert_eq!(step(0.5, 0.0, 1.0), STEPS / 2);
        assert_eq!(step(3.0, 3.0, 3.0), STEPS / 2);
    }
}
