//! Layout: where panels are on Grafana's grid of 24 columns.

use crate::board::Board;
use crate::panel::Panel;

/// Columns of the grid.
pub const COLUMNS: u32 = 24;

/// Place of a panel on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Column, from the left.
    pub x: u32,
    /// Line, from the top.
    pub y: u32,
    /// Width.
    pub w: u32,
    /// Height.
    pub h: u32,
}

/// What has a place: the title of a row, or a panel.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Title of a row.
    Title(&'static str),
    /// Panel of a row, at its place.
    Panel(&'a Panel),
}

/// All items of a board with their places, from the top down.
#[must_use]
pub fn of_board(board: &Board) -> Vec<(Place, Item<'_>)> {
    let mut items = Vec::new();
    let mut y = 0;
    for row in &board.rows {
        if let Some(title) = row.title {
            items.push((Place { x: 0, y, w: COLUMNS, h: 1 }, Item::Title(title)));
            y += 1;
        }
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            if x + panel.width > COLUMNS {
                y += height;
                (x, height) = (0, 0);
            }
            let place = Place { x, y, w: panel.width, h: panel.height };
            items.push((place, Item::Panel(panel)));
            x += panel.width;
            height = height.max(panel.height);
        }
        y += height;
    }
    items
}
