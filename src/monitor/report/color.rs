/// Converts a hue in degrees and a saturation and lightness of 0 to 1 to a color that programs
/// without CSS can read, too.
pub(super) fn hsl(hue: f64, saturation: f64, lightness: f64) -> String {
    let chroma = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f64| {
        let place = (offset + hue / 30.0) % 12.0;
        let value = lightness - chroma * (place - 3.0).min(9.0 - place).clamp(-1.0, 1.0);
        (255.0 * value).round() as u8
    };
    format!(
        "#{:02x}{:02x}{:02x}",
        channel(0.0),
        channel(8.0),
        channel(4.0)
    )
}

/// Returns a color from pale to dark blue for a fraction of 0 to 1.
pub(super) fn shade(share: f64) -> String {
    hsl(215.0, 0.65, 0.94 - 0.64 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_css() {
        for (hue, saturation, lightness, color) in [
            (0.0, 1.0, 0.5, "#ff0000"),
            (120.0, 1.0, 0.25, "#008000"),
            (240.0, 1.0, 0.5, "#0000ff"),
            (60.0, 0.0, 0.5, "#808080"),
            (180.0, 0.5, 0.75, "#9fdfdf"),
        ] {
            assert_eq!(hsl(hue, saturation, lightness), color);
        }
    }
}
