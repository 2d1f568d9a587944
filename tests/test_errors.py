from vecsv.errors import AudioError, StoreError, VecsvError


def test_an_error_reads_where_what_and_what_to_do_in_one_line() -> None:
    error = StoreError("no index yet", where="calls", hint="vecsv index build")
    assert str(error) == "calls: no index yet (vecsv index build)"
    assert "\n" not in str(error)


def test_an_error_without_place_or_hint_is_just_what_is_wrong() -> None:
    assert str(VecsvError("odd")) == "odd"


def test_an_audio_error_keeps_its_code_for_the_ledger() -> None:
    error = AudioError("truncated", "cut off", where="a.flac")
    assert (error.code, error.exit_code) == ("truncated", 2)
