from pipelines.library.links import video_link


def test_links_open_what_a_browser_opens_at_the_second() -> None:
    assert video_link("/a b/ü.mp4", 12.5) == "file:///a%20b/%C3%BC.mp4#t=12.50"
    assert video_link("/a.png") == "file:///a.png"
    assert video_link("https://host/a.mp4", 3) == "https://host/a.mp4#t=3.00"
    assert video_link("s3://bucket/a.mp4", 3) is None
