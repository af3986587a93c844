"""Region features on disk: published file formats, the native store, the contract, and tools that compare them."""
