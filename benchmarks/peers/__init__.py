"""Other people's code, driven as its documentation says and as a careful user would."""
