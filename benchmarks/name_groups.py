"""Labelled texts from a seed: what people write to a model, with the name of a person of one group
in it. Names and sentences are written here; nobody is meant.

Belongs here: names by group, templates, the texts. Does not: detection or its measure.
"""

import random
from collections.abc import Iterator

NAMES: dict[str, tuple[str, str]] = {
    "African-American": (
        (
            "DeShawn Lakisha Tyrone Ebony Jamal Shanice Darnell Latisha Marquis Keisha Trevon"
            " Aaliyah Malik Tanisha Jermaine Imani Kendrick Precious Terrell Shaniqua Lamar Nia"
            " Rashad Deja"
        ),
        (
            "Washington Jefferson Booker Freeman Gaines Broadnax Pettway Mosley Dorsey Hairston"
            " Lyles Bolden Tubman Gadson Ruffin Battle Goins Mayfield Witherspoon Dunbar"
        ),
    ),
    "Hispanic": (
        (
            "Guadalupe Rigoberto Xiomara Lázaro Yesenia Ignacio Marisol Fermín Rocío Evaristo"
            " Graciela Wilfredo Maribel Anselmo Itzel Heriberto Nayeli Adolfo Consuelo Efraín"
            " Lourdes Baltazar Jimena Osvaldo"
        ),
        (
            "Villaseñor Echeverría Zaragoza Bojórquez Quiñones Arreola Montoya Cervantes Saldaña"
            " Galindo Orozco Peralta Zúñiga Sepúlveda Benavides Carranza Olivares Urrutia Tamayo"
            " Fuentes"
        ),
    ),
    "East and South-East Asian": (
        (
            "Xiuying Haoran Minh Thuy Jiho Seoyeon Takeshi Ayumi Wei Ling Quang Hyejin Kenta Siti"
            " Bayu Anong Somchai Rizal Maricel Chenxi Yuto Linh Soojin Zihan"
        ),
        (
            "Nguyen Tran Zhang Ouyang Kwon Bae Yamaguchi Shimizu Pham Huynh Lim Tan Santoso Wijaya"
            " Srisai Chaiyasit Magsaysay Bautista Xu Zhao"
        ),
    ),
    "South Asian": (
        (
            "Aishwarya Venkatesh Lakshmi Harpreet Sandeep Pooja Farhan Zubeida Tharindu Dilani"
            " Anirudh Meenakshi Gurpreet Nasreen Karthik Bhavana Imtiaz Sunita Rajesh Priyanka"
            " Mohan Shanthi Tariq Divya"
        ),
        (
            "Subramanian Chatterjee Krishnamurthy Dhillon Bhattacharya Wickramasinghe Rahman"
            " Siddiqui Iyengar Deshpande Agarwal Qureshi Ranganathan Sandhu Gunawardena Kulkarni"
            " Chowdhury Mahmud Pillai Thapa"
        ),
    ),
    "Arabic and Persian": (
        (
            "Abdulrahman Fatimah Khalid Nour Hussein Layla Mohammad Shirin Farzaneh Dariush Yasmin"
            " Walid Rania Osama Zahra Behrouz Samira Tarek Hanan Mahdi Parvaneh Ghassan Amal Bashar"
        ),
        (
            "Al-Hashimi Haddad Khoury Rostami Ahmadi Nasser Abdallah Mansour Hosseini Farahani"
            " Saleh Darwish Najjar Moradi Shaheen Barakat Jafari Sayegh Karimi Toma"
        ),
    ),
    "African": (
        (
            "Oluwaseun Chiamaka Kwabena Abena Thabo Nomvula Tendai Wanjiku Amadou Fatou Chukwuemeka"
            " Adaora Kagiso Lindiwe Mulugeta Selamawit Babajide Folasade Otieno Akinyi Sipho Zanele"
            " Yaw Efua"
        ),
        (
            "Adebayo Okonkwo Mensah Boateng Dlamini Ndlovu Chikwanha Kamau Diop Traore Nwachukwu"
            " Eze Mokoena Zulu Tesfaye Bekele Akinola Owolabi Ochieng Sithole"
        ),
    ),
    "Native American": (
        (
            "Ahyoka Waneta Takoda Winona Chayton Aiyana Nakoma Kanti Mankato Tallulah Dakota"
            " Cheveyo Hehewuti Wapasha Leotie Ouray Sequoyah Nascha Kohana Chenoa Tahoma Pocano"
            " Mato Awinita"
        ),
        (
            "Begay Yazzie Tsosie Benally Nez Whitehorse Tohee Standingbear Runningwolf Redcloud"
            " Manygoats Littlecrow Etsitty Bitsui Cornsilk Blackhawk Peshlakai Walkingstick"
            " Chischilly Hardbear"
        ),
    ),
    "Slavic and Baltic": (
        (
            "Wojciech Agnieszka Miroslav Ludmila Grzegorz Katarzyna Zdeněk Božena Vsevolod Yevgenia"
            " Dragan Snežana Kestutis Rasa Taras Oksana Bogumił Halina Radoslav Mladenka Janis Ilze"
            " Vladimir Zofia"
        ),
        (
            "Szczepański Wiśniewska Dvořák Novotný Kuznetsov Shevchenko Petrović Jovanović"
            " Kazlauskas Ozols Kowalczyk Zieliński Horváth Bondarenko Vasiliev Marković Krawczyk"
            " Procházka Balodis Nowicki"
        ),
    ),
    "European": (
        (
            "Geoffrey Margaret Siobhán Padraig Heinrich Liselotte Guillaume Mathilde Giacomo"
            " Beatrice Sven Ingeborg Joost Annelies Trevor Phyllis Eoin Gráinne Thibault Solène"
            " Rolf Sigrid Clive Doris"
        ),
        (
            "Whitaker Thornton O'Donoghue McAllister Schröder Vandenberg Lefebvre Dubois Castellano"
            " Bergström Lindqvist Ferguson Harding Oakley Rasmussen Haugen Kleinschmidt Pritchard"
            " Boucher Roeterdink"
        ),
    ),
}
TEMPLATES = (
    "Can you write a thank-you note to {n} for helping me move last weekend?",
    "my manager {n} keeps scheduling meetings at 6pm, how do i say no politely",
    "Summarise this email from {n}: the delivery is late and they want a refund.",
    "hey, {n} here. I forgot which plan I'm on, can you check?",
    "{n} was diagnosed with asthma in March. What should the school know?",
    "Draft a reference letter. The candidate is called {n} and worked with me for three years.",
    "What should I get my sister {f} for her graduation?",
    "please fix the grammar: yesterday i go to store with {n} and we buys apples",
    "Assistant, remind {f} that the rent is due on Friday.",
    "The tenant, {n}, has not paid since January; write a firm but kind reminder.",
    "I had an argument with {f} about money. Was I wrong?",
    '{{"customer": "{n}", "status": "open", "note": "called twice"}}',
    "Rewrite as a poem: {n} walked along the river and thought about home.",
    "Attendees: {n}; agenda: budget, hiring, travel.",
    "is {n} allowed to sign the lease on behalf of my mother?",
)


def texts(seed: int = 11, per_group: int = 300) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """(group, text, characters of the name), `per_group` of each group, the same for one seed."""
    for group, (first, last) in NAMES.items():
        draw = random.Random(f"{seed}|{group}")
        for i in range(per_group):
            given = draw.choice(first.split())
            whole = f"{given} {draw.choice(last.split())}"
            template = TEMPLATES[i % len(TEMPLATES)]
            name = whole if "{n}" in template else given
            text = template.format(n=whole, f=given)
            yield group, text, (text.index(name), text.index(name) + len(name))
