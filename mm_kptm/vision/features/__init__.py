"""Region features on disk: published file formats, the native store, the feature contract, and diagnosis tools."""
