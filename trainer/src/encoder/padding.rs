//! TensorFlow's `SAME` padding.

/// Padding before and after an input of this length, as TensorFlow's `SAME`: the output length is the input length
/// divided by the stride, rounded up, and an odd amount of padding has one more at the end.
pub(crate) fn same_padding(length: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let all = ((length.div_ceil(stride) - 1) * stride + kernel).saturating_sub(length);
    (all / 2, all - all / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_agrees_with_tensorflow() {
        assert_eq!(same_padding(224, 3, 2), (0, 1));
        assert_eq!(same_padding(7, 3, 2), (1, 1));
        assert_eq!(same_padding(14, 5, 2), (1, 2));
        assert_eq!(same_padding(7, 5, 1), (2, 2));
        assert_eq!(same_padding(1, 1, 1), (0, 0));
    }
}
