//! Functions of one value, as a table.

use ocellus_shared::plan::Step;

/// Looks four values up at a time: one load, and one store.
pub fn run(step: &Step, input: &[i8], output: &mut [i8]) {
    // A parsed plan's table has as many entries as a byte has values.
    let Some(table) = step.weights.first_chunk::<256>() else { return };
    // The table starts with the result for -128, and flipping the sign bit adds 128.
    let entry = |value: u8| table[usize::from(value ^ 0x80)];
    let (words, rest) = input.as_chunks::<4>();
    let (results, last) = output.as_chunks_mut::<4>();
    for (word, results) in words.iter().zip(results) {
        let flipped = u32::from_ne_bytes(word.map(|value| value as u8)) ^ 0x8080_8080;
        *results = flipped.to_ne_bytes().map(|index| table[usize::from(index)]);
    }
    for (value, result) in rest.iter().zip(last) {
        *result = entry(*value as u8);
    }
}
