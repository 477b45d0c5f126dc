from aios.bench.bleu import bleu


def test_the_same_is_one_and_nothing_in_common_is_none():
    texts = ["the cat sat on the mat today", "a b c d e"]
    assert bleu(texts, texts) == 1.0
    assert bleu(["x y z w v"], ["a b c d e"]) == 0.0


def test_part_of_it_is_between_and_short_texts_are_punished():
    whole = ["the cat sat on the mat"]
    assert 0.0 < bleu(["the cat sat on a mat"], whole) < 1.0
    # All that was said is right, but it is half: the brevity penalty is e^(1 - 6/5).
    assert abs(bleu(["the cat sat on the"], whole) - 2.718281828 ** (1 - 6 / 5)) < 1e-6
