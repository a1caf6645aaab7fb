"""Counts and times in words."""

from __future__ import annotations

from collections.abc import Iterable


def counted(n: int, what: str) -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> counted(1, "epoch"), counted(1200, "update")
    ('1 epoch', '1,200 updates')
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def filled(parts: Iterable[str], width: int) -> str:
    """Return parts in lines of at most this width, without breaking a part.

    Examples
    --------
    >>> filled(["loss 0.5", "best 0.25", "rate 0.1"], 20)
    'loss 0.5  best 0.25\\nrate 0.1'
    """
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}  {part}" if lines[-1] else part
        if lines[-1] and len(longer) > width:
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def clock_time(seconds: float) -> str:
    """Return a running time as ``m:ss`` or ``h:mm:ss``, which keeps its width between two views.

    Examples
    --------
    >>> clock_time(75), clock_time(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Return a duration in the words of people.

    Examples
    --------
    >>> duration(3.214), duration(312), duration(7500)
    ('3.21 s', '5 min 12 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
