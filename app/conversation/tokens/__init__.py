"""The local estimate of tokens: of texts, tools, images and documents."""
