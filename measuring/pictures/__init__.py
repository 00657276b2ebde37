"""What people look at: regions, layouts and attention painted on frames, contact sheets, label images (cv2, Pillow)."""
