from retrieval.embedding.inputs import padded_batch


def test_rows_are_padded_to_the_longest_and_masked() -> None:
    given = padded_batch([[5, 6, 7], [8]], inputs={"input_ids", "attention_mask"}, pad_id=9)
    assert {name: value.tolist() for name, value in given.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
    }


def test_a_width_may_be_asked_for_and_never_cuts() -> None:
    names = {"input_ids", "attention_mask", "token_type_ids"}
    assert {value.shape for value in padded_batch([[1, 2]], inputs=names, pad_id=0, width=8).values()} == {(1, 8)}
    assert {value.shape for value in padded_batch([[1, 2, 3]], inputs=names, pad_id=0, width=2).values()} == {(1, 3)}
