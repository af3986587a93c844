"""Published text encoders, opened by name with :func:`mm_kptm.build` and :func:`mm_kptm.load`."""

__all__: list[str] = []  # recipes are found by discovery and opened by their names
