import pytest

from pipelines.library.moment import Moment, MomentError


@pytest.mark.parametrize(
    ("text", "path", "seconds"),
    [
        ("video.mp4@12.5", "video.mp4", 12.5),
        ("/a/b c/v.mov@0", "/a/b c/v.mov", 0.0),
        ("s3://bucket/v.mp4@3", "s3://bucket/v.mp4", 3.0),
        ("me@home/v@2.mp4@7.25", "me@home/v@2.mp4", 7.25),
        ("v.mp4@1:12.5", "v.mp4", 72.5),
        ("v.mp4@1:02:03", "v.mp4", 3723.0),
        ("v.mp4@90", "v.mp4", 90.0),
    ],
)
def test_a_moment_is_read(text: str, path: str, seconds: float) -> None:
    moment = Moment.parse(text)
    assert (moment.path, moment.seconds) == (path, seconds)
    assert Moment.parse(str(moment)) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("video.mp4", "@12.5", "", "v.mp4@", "v.mp4@x", "v.mp4@-1", "v.mp4@nan", "v.mp4@inf"),
        *("v.mp4@1:70", "v.mp4@1.5:10", "v.mp4@1:2:3:4", "me@home/v.mp4"),
    ],
)
def test_what_is_no_moment_is_said_with_an_example(text: str) -> None:
    with pytest.raises(MomentError, match=r"video\.mp4@12\.5"):
        Moment.parse(text)
