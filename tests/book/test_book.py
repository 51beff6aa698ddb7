"""The book's build refuses what is missing, its checks see what is broken, and the real book has no defect."""

import json
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from rfloc.errors import BookError, DataError
from rfloc.pipeline.book import build_book, substitutions
from tests.book import checks
from tests.book.pages import book_problems


def results(project: Path) -> Path:
    return next((project / "results").iterdir())


def test_numbers_come_from_results_and_a_sound_book_has_no_defects_nor_has_a_link_elsewhere(built, plant):
    text = (built / "index.html").read_text()
    assert "Guessing gives 152 m [130, 171]; the best on known streets is A." in text
    assert book_problems(built) == []
    followed = plant("</article>", '<a href="https://example.org">there</a></article>')
    assert book_problems(followed) == []


def test_the_papers_tables_stand_beside_ours_and_claims_are_judged(built):
    tables = BeautifulSoup((built / "index.html").read_text(), "html.parser").find_all("table")
    cells = {row.td.text: [td.text for td in row.find_all("td")[1:]] for row in tables[1].find_all("tr") if row.td}
    assert cells["k-NN in the square"] == ["38.8", "not run", "200.2", "152 [130, 171]"]
    assert "scale demo, revision no git+changes" in tables[1].caption.text
    judged = [[td.text for td in row.find_all("td")] for row in tables[2].find_all("tr") if row.td]
    assert {row[4] for row in judged} == {"not testable here"} and len(judged) > 20


@pytest.mark.parametrize(
    ("more", "said"),
    [("As much as {{ headline.never_written }}.", "never_written"), ("{numref}`fig-that-is-not`", "fig-that-is-not")],
)
def test_a_name_that_results_lack_and_a_reference_to_nothing_stop_the_build(mini, more, said):
    page = mini / "book" / "second.md"
    page.write_text(f"{page.read_text()}\n{more}\n")
    with pytest.raises(BookError, match=rf"second\.md:.*{said}"):
        build_book(mini)


@pytest.mark.parametrize("name", ["table1.json", "headline.json"])
def test_a_missing_results_file_is_named(mini, name):
    (results(mini) / name).unlink()
    with pytest.raises(DataError, match=rf"there is no .*{name}"):
        substitutions(mini)


def test_a_missing_score_is_named(mini):
    path = results(mini) / "table1.json"
    table = json.loads(path.read_text())
    del table["rows"][1]["unknown"]["rmse"]
    path.write_text(json.dumps(table))
    with pytest.raises(BookError, match=r"row 'A' is incomplete(.|\n)*rmse"):
        substitutions(mini)


def test_every_experiment_needs_its_page(mini):
    toc = {"format": "jb-book", "root": "index", "parts": [{"chapters": [{"file": "07-2-training"}]}]}
    (mini / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    (mini / "book" / "07-2-training.md").write_text("# Training\n")
    with pytest.raises(BookError, match=r"pages of the book are missing: .*executed/07-2-training-A, "):
        build_book(mini)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('href="second.html"', 'href="third.html"', "third.html does not exist"),
        ('href="second.html"', 'href="second.html#nowhere"', "second.html#nowhere has no such anchor"),
        ('alt="the logo"', "", "has no alternative text"),
        ("</article>", '<img src="gone.png" alt="x"></article>', "gone.png does not exist"),
        ("</article>", "<h1>Again</h1></article>", "2 <h1> headings, not one"),
        ("</article>", "<p>{{ rows.A }}</p></article>", "unfilled {{ rows.A }}"),
        ("</head>", '<script src="https://cdn.example/x.js"></script></head>', "loads https://cdn.example/x.js"),
        ("</head>", '<link rel="stylesheet" href="//cdn.example/x.css"></head>', "loads //cdn.example/x.css"),
        ("</head>", "<style>@import 'https://cdn.example/y.css';</style></head>", "loads https://cdn.example/y.css"),
    ],
)
def test_a_planted_defect_is_found(plant, old, new, said):
    html = plant(old, new)
    (problem,) = (problem for problem in book_problems(html) if problem.startswith("index.html"))
    assert said in problem


def test_the_browser_sees_what_scripts_do(plant, chromium):
    fetch = "fetch('https://cdn.example/data.json').catch(() => 0)"
    scripts = f"<script>console.error('planted'); {fetch}; nothing()</script>"
    wide = '<div style="width: 3000px">x</div><span class="math">\\(\\nomacro{x}\\)</span>'
    problems = checks.browser_problems(plant("</article>", f"{scripts}{wide}</article>"), chromium)
    said = [problem for problem in problems if problem.startswith("index.html")]
    for part in ("console: planted", "request to elsewhere: https://cdn", "script error", "px wide", "formula is not"):
        assert any(part in problem for problem in said), part
