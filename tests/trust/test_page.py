from trust_page import PAGE, written


def test_page_shows_the_table_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == written(text), "run: make trust-page"
