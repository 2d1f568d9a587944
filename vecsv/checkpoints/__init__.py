"""Other people's weights, read as data: PyTorch's two formats, safetensors, and Hugging Face folders of them."""
