"""The report in a real browser, where there is one: a `chromium` on the path, and playwright to steer it."""

import shutil

import pytest

from minihybrid.report import write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium on the path"),
]


@pytest.fixture
def open_page(make_run):
    """Opens the report of two runs in a window of a width, and fails for what the console or a network hears of it."""
    playwright = pytest.importorskip("playwright.sync_api")
    make_run("first", repeat=20)
    make_run("second", repeat=20)
    path = write(["first", "second"], "both.html").resolve()
    heard = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def asked(request):
            if not request.url.startswith(("file:", "data:")):
                heard.append(request.url)

        def opened(width, scheme="light"):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.on("console", lambda said: heard.append(said.text))
            page.on("pageerror", lambda error: heard.append(str(error)))
            page.on("request", asked)
            page.goto(path.as_uri())
            return page

        yield opened
        browser.close()
    assert heard == []


def test_values_show_under_the_pointer_and_by_the_arrow_keys(open_page):
    page = open_page(1200)
    for i in range(page.locator(".plot").count()):
        page.locator(".plot").nth(i).hover()
        assert page.locator("output").nth(i).text_content()
    page.locator(".plot").first.hover()
    shown = page.locator("output").first.text_content()
    assert shown.startswith("step ") and "first, running mean" in shown and "second" in shown
    chart = page.locator(".chart").nth(3)
    chart.focus()
    told = []
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
        told.append(chart.locator("output").text_content())
    assert all("first" in text for text in told) and chart.locator(".cursor").is_visible()
    page.locator("h1").hover()
    assert page.locator("output").first.text_content() == ""


def test_it_fits_a_telephone(open_page):
    page = open_page(390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator(".plot").nth(i).bounding_box() for i in range(page.locator(".plot").count())]
    assert boxes and all(box["width"] > 250 and box["x"] + box["width"] <= 390 for box in boxes)


def test_it_is_dark_where_the_reader_wants_it_dark(open_page):
    def background(scheme):
        return open_page(390, scheme).evaluate("getComputedStyle(document.body).backgroundColor")

    assert background("light") == "rgb(255, 255, 255)" and background("dark") == "rgb(19, 20, 22)"
