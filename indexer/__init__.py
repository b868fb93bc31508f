"""Images to store: data sets, labels, images, the store, FAISS, the build."""
