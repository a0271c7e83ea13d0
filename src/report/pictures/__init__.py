from src.report.pictures.all_pictures import draw_pictures
from src.report.pictures.mistakes import draw_mistakes
from src.report.pictures.picture import Picture
from src.report.pictures.strips import Tile, draw_strips

__all__ = ["Picture", "Tile", "draw_mistakes", "draw_pictures", "draw_strips"]
