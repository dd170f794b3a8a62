import minihybrid as mh
from minihybrid.compare.characters import NextCharacterConfig, following, write


def test_a_seed_writes_the_same_text_everywhere():
    text = write(mh.Rng(3), 200)
    assert len(text) == 200
    assert text == write(mh.Rng(3), 200) != write(mh.Rng(4), 200)


def test_the_text_is_made_of_sentences_of_the_language():
    text = write(mh.Rng(0), 5000)
    sentences = [sentence.split() for sentence in text.split(". ")][:-1]
    assert len(sentences) > 50
    assert all(sentence[0] in ("the", "a") and len(sentence) >= 5 for sentence in sentences)


def test_windows_are_followed_by_their_next_character():
    text = "the quick brown fox"
    inputs, targets, alphabet = following(text, 4)
    assert len(inputs) == len(targets) == len(text) - 4
    for i, (window, target) in enumerate(zip(inputs, targets, strict=True)):
        assert "".join(alphabet[code] for code in window) == text[i : i + 4] and alphabet[target] == text[i + 4]


def test_the_order_of_the_characters_matters():
    model = NextCharacterConfig(letters=5, context=3).init(mh.Rng(0))
    forwards, backwards = following("abcde", 3)[0][:1], following("abcde", 3)[0][:1, ::-1]
    assert model(mh.Tensor(forwards)).tolist() != model(mh.Tensor(backwards)).tolist()
