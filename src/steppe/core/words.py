"""Numbers as people read them."""


def grouped(number: int) -> str:
    """A whole number with thin spaces between thousands: `24 577`."""
    return f"{number:,}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as `0.03 s`, `8.1 s`, `41 s`, `8 min 12 s` or `3 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
