//! Where an image's channels are.

/// Turns images `[height, width, channels]`, one after the other, into `[channels, height, width]`.
pub fn to_channels_first(images: &mut [f32], [height, width, channels]: [usize; 3]) {
    let pixels = height * width;
    let elements = pixels * channels;
    if channels < 2 || elements == 0 {
        // The same bytes either way.
        return;
    }
    let mut image = vec![0.0; elements];
    for samples in images.chunks_exact_mut(elements) {
        image.copy_from_slice(samples);
        for (i, pixel) in image.chunks_exact(channels).enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                samples[channel * pixels + i] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_first() {
        // Two images of 1 × 2 pixels in three channels.
        let mut images = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        to_channels_first(&mut images, [1, 2, 3]);
        assert_eq!(images, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 10.0, 40.0, 20.0, 50.0, 30.0, 60.0]);
    }
}
