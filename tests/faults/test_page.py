from tests.faults.page import PAGE, SECTIONS, write


def test_the_page_is_what_the_tests_provoke() -> None:
    assert PAGE.read_text() == write(SECTIONS), "run: python -m tests.faults.page"


def test_every_fault_is_named_once() -> None:
    names = [fault.name for faults in SECTIONS for fault in faults]
    assert len(names) == len(set(names)) >= 150
