"""What pages are made of: each draws one part of a screen, with Streamlit."""
