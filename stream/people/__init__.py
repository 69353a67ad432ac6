"""What a person types about people: `tonewatch enroll` and `tonewatch profiles`, and the guide at the microphone."""
